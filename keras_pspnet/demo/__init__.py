"""The local web page of `keras-pspnet demo`, which needs the extra `demo`."""
