"""Find the upstream that serves a model, and speak its protocol.

The package knows nothing of keys, limits or money.
"""
