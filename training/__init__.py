"""The training programme: one flat file for each run, and what runs them."""
