"""The local web page of `keras-pspnet demo`; requires the extra `demo`."""
