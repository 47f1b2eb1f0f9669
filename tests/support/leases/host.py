"""Run one host without HTTP: an arena in a file, workers that admit on it, the agent's lease task.

``python -m tests.support.leases.host '<Plan as JSON>'`` runs until its standard input closes.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import msgspec

from nemorouter._core import Arena, hash_key
from nemorouter.cluster.demand import listen
from nemorouter.cluster.rates.leases import Leases
from nemorouter.cluster.rates.memory import BankMemory
from nemorouter.cluster.rates.redis_bank import RedisBank
from nemorouter.cluster.rates.terms import Terms
from nemorouter.cluster.redis import connect
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.types import Kind, Policy, per_rate
from tests.support.leases.worker import IDENTITY, PEPPER, SECRET, Plan


def create(plan: Plan) -> Arena:
    """Make an arena of one org, team and key; the limits are the key's."""
    folder = Path(plan.folder)
    arena = Arena.create(str(folder / "arena.new"), 64, IDENTITY)
    arena.clustered = True
    arena.admit_until_us = 0
    arena.put(Policy(kind=Kind.ORG, id=1, version=1))
    arena.put(Policy(kind=Kind.TEAM, id=1, version=2, org=1))
    digest = hash_key(SECRET, PEPPER)
    key = Policy(
        kind=Kind.KEY,
        id=1,
        version=3,
        org=1,
        team=1,
        digest=digest,
        last4="RRRR",
        limits=per_rate(rpm=plan.limit, tpm=plan.tpm),
        bursts=per_rate(rpm=plan.burst, tpm=plan.tpm),
    )
    arena.put(key)
    arena.publish(str(folder / "arena"))
    return arena


async def serve(plan: Plan, arena: Arena) -> dict[str, float]:
    """Run the agent until standard input closes; return its counters."""
    terms = Terms()
    stopping = asyncio.Event()
    client = connect(plan.url)
    bank = RedisBank(client, "nemo", terms)
    settings = Settings(data_dir=Path(plan.folder) / "data")
    store = await Store.open(settings, migrate=True)
    leases = Leases(arena, bank, BankMemory(store), terms)
    asyncio.get_running_loop().add_reader(sys.stdin, stopping.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(listen(arena, Path(plan.folder) / "bell", leases.demand, stopping))
        group.create_task(leases.run(stopping))
    await client.aclose()
    await store.close()
    return leases.counters()


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    arena = create(plan)
    command = [sys.executable, "-m", "tests.support.leases.worker", sys.argv[1]]
    workers = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.DEVNULL) for n in range(plan.workers)
    ]
    counters = asyncio.run(serve(plan, arena))
    for worker in workers:
        worker.wait(10)
    (Path(plan.folder) / "agent.json").write_text(json.dumps(counters))


if __name__ == "__main__":
    main()
