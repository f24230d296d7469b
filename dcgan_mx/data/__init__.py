"""Where real images come from: data sets, pictures of any kind, record files.

What makes batches of them is in `dcgan_mx.iterators`.
"""
