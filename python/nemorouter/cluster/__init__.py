"""Coordinate several hosts: leases of limits, the registry of hosts, and the bus of changes.

Imported only where ``redis_url`` is set. The request path never enters this package: it reads what
the host's agent wrote into the arena.
"""
