"""The parts of the trainer: modules, their state, metrics, workers, batches, stop requests."""
