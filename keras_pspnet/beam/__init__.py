"""Segmentation and evaluation on many machines, with Apache Beam."""

from keras_pspnet.beam.apache import apache_beam as apache_beam
from keras_pspnet.beam.evaluate import EvaluateImages as EvaluateImages
from keras_pspnet.beam.segment import SegmentImages as SegmentImages
