"""Leases of budgets: a host's side of them, and the bank in the store that grants them."""
