"""Serve the control plane: management API and pages, two faces of the services without rules.

Importing this package loads nothing heavy. ``bridge`` loads the rest at the first request.
"""
