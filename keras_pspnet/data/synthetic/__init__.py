"""Procedural images and masks, which need no download."""
