"""Many hosts: leases, the registry of hosts, and the bus of changes. Imported only where
``redis_url`` is set.

The request path never comes here: it reads what the host's agent put into the arena.
"""
