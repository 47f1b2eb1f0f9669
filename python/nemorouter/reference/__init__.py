"""The gate in pure Python: same interface and same answers as the native module.

It is the oracle of the tests and the baseline of the benchmark, for one machine: it knows no
leases. It must never be tuned away from plain, readable code.
"""

from nemorouter.reference.arena import Arena
from nemorouter.reference.bucket import Bucket
from nemorouter.reference.clock import ManualClock
from nemorouter.reference.credential import hash_key, parse_key
from nemorouter.reference.gate import Gate
from nemorouter.reference.journal import Journal
from nemorouter.reference.values import Identity, Meters, Refusal

__all__ = [
    "Arena",
    "Bucket",
    "Gate",
    "Identity",
    "Journal",
    "ManualClock",
    "Meters",
    "Refusal",
    "hash_key",
    "parse_key",
]
