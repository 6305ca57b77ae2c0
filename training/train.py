"""Trains a recipe in a checkout: `python -m training.train RECIPE`.

It does the same as `keras-pspnet train RECIPE`.
"""

import sys

from keras_pspnet_command import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    sys.exit(main())
