"""The control plane: management API and pages, two faces of the services. They hold no rules of
their own.

Importing this package loads nothing heavy; ``bridge`` loads the rest when somebody first asks for
it.
"""
