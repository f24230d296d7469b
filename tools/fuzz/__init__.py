"""Mutated files for every reader of foreign files."""
