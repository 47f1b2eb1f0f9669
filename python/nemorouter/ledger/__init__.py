"""Move rows from the journals to the store: draining, recovery, recounts, retention.

One process a host does it.
"""
