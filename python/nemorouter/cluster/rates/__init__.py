"""Leases of rate limits: a host's side of them, and the bank in Redis that grants them."""
