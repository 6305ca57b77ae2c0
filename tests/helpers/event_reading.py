"""Reads the event files of TensorBoard."""

import tensorflow as tf
from tensorflow.core.util.event_pb2 import Event


def events(folder):
    """All events of a folder, in the order in which TensorBoard takes them."""
    files = sorted(map(str, folder.glob("*tfevents*")))
    records = tf.data.TFRecordDataset(files)
    return [Event.FromString(record.numpy()) for record in records]
