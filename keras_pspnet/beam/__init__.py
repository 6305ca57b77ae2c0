"""Any number of images on any number of machines, with Apache Beam."""

try:
    import apache_beam as apache_beam
    import pyarrow as pyarrow
except ImportError as error:
    raise ImportError(
        "apache-beam must be installed for keras_pspnet.beam: "
        "pip install keras-pspnet[beam]"
    ) from error

from keras_pspnet.beam.evaluate import EvaluateImages as EvaluateImages
from keras_pspnet.beam.segment import SegmentImages as SegmentImages
