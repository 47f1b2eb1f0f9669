"""The host's shared memory: made from the store, taken over, and kept up to date with it."""
