"""What a trained generator makes: latent vectors, samples, films."""
