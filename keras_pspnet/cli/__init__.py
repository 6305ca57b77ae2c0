"""The command line: the only modules that print or exit.

`main.py` parses and runs, `common.py` holds what several commands share, and
every other module is one command: `add_parser` and `run`. Parsing must not
import Keras, so modules import what runs a command inside its functions.
"""
