"""Metrics of generated images, compared with real ones."""
