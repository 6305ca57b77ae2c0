"""A training run: its recipe, data, loop, checkpoints and cluster."""
