"""Data: decoding, augmentation, pipelines and procedural scenes."""
