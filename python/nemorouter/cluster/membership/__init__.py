"""Which hosts may admit requests, and how a change reaches all of them."""
