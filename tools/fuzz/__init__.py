"""Test every file reader with mutated files."""
