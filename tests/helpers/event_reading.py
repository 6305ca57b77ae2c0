"""Reads the event files of TensorBoard."""

import tensorflow as tf
from tensorflow.core.util.event_pb2 import Event


def events(folder):
    """Returns all events of a folder, in TensorBoard's order."""
    files = sorted(map(str, folder.glob("*tfevents*")))
    records = tf.data.TFRecordDataset(files)
    return [Event.FromString(record.numpy()) for record in records]
