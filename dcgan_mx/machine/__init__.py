"""This machine and this process: MXNet's import, processors, GPUs, files, signals."""
