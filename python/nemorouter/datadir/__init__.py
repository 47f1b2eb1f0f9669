"""The data directory: where its files lie, the locks on them, and what processes note for each other."""
