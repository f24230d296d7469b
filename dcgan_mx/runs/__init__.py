"""Runs on disk: directory, settings, log, checkpoints."""
