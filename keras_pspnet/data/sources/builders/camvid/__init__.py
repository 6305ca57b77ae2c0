"""CamVid for TensorFlow Datasets."""
