"""Everything about the machine and the process: MXNet's import, CPU, GPUs, files, signals."""
