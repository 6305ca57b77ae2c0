"""VOC 2012 segmentation for TensorFlow Datasets."""
