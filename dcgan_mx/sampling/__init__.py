"""Images from a trained generator: latent vectors, samples, animations."""
