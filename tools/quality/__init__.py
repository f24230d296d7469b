"""Image quality of whole runs, and the bundled models."""
