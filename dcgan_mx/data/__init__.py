"""Real images: data sets, folders of image files, record files."""
