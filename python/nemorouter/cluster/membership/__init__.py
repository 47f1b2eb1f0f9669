"""Decide which hosts may admit requests, and bring each change to all of them."""
