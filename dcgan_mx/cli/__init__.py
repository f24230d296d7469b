"""The commands of `dcgan-mx` and the scripts of the same names: flags in, objects out."""
