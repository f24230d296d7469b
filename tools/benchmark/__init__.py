"""Training speed against other implementations, layer times, precision and scaling."""
