"""Weights of other frameworks, read without them."""
