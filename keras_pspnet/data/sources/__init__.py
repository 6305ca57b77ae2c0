"""Sources of images and masks: folders, published sets, TFDS."""
