"""The subcommands of `dcgan-mx`: they parse flags, construct objects and print results."""
