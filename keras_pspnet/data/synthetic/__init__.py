"""Images and masks that are drawn: no download needed."""
