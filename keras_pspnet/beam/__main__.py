"""`python -m keras_pspnet.beam`: see `keras_pspnet.cli_beam`."""

from keras_pspnet.cli_beam import main

if __name__ == "__main__":
    raise SystemExit(main())
