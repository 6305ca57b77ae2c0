"""Training runs, one flat file each."""
