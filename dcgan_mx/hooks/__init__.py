"""Hooks, called after every training step: loggers, checkpoints, evaluation, progress."""
