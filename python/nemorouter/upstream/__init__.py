"""Where requests go: which upstream serves a model, and how to speak to it.

It knows nothing of keys, limits or money.
"""
