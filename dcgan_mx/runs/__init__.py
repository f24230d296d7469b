"""What a run is on disk: its folder, its settings, its checkpoints."""
