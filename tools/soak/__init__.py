"""Runs that are killed and resumed, and runs that are very long."""
