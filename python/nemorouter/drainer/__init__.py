"""The drainer of a host: which process does the work of the ledger, and when."""
