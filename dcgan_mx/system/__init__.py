"""The machine and the process: MXNet's import, processors, GPUs, files, signals."""
