"""Where images and masks come from: folders, published sets, TensorFlow Datasets."""
