"""From the journals to the store: draining, recovery of the dead, recounts, retention; by one
process a host.
"""
