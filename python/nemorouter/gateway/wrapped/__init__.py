"""A wrapped app in the place of an upstream: it answers itself, and sees no credential."""
