"""Data sets: from folders of X-rays to one list of images, labels and splits."""
