"""What the trainer leans on, and what happens beside it.

The step and the loop themselves are in `dcgan_mx.trainer`.
"""
