"""Hooks, called after every training step, and the loggers to which they write."""
