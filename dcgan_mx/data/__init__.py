"""Real images: data sets, folders of image files, record files.

`dcgan_mx.iterators` makes batches of them.
"""
