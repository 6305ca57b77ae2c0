"""Random changes of training images and masks."""
