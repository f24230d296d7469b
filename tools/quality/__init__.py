"""Image quality of whole trainings, and the bundled models."""
