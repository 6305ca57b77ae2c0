"""Imports Apache Beam and Arrow, or says how to install them."""

try:
    import apache_beam as apache_beam
    import pyarrow as pyarrow
except ImportError as error:
    raise ImportError(
        "apache-beam must be installed for keras_pspnet.beam: "
        "pip install keras-pspnet[beam]"
    ) from error
