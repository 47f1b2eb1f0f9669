"""One gateway for all of the contract: keys of every kind, and an upstream that can misbehave."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.scopes import keys
from nemorouter.services.scopes.limits import NewScope, ScopePatch
from nemorouter.services.scopes.scope import patch_scope
from nemorouter.services.scopes.teams import create_team
from nemorouter.types import Kind
from tests.support.servers import Host, Server
from tests.support.upstreams import FakeUpstream


@dataclass
class Contract:
    """The installation on which the tables of the contract are tried."""

    host: Host
    server: Server
    upstream: FakeUpstream
    keys: dict[str, str]


def _keys(host: Host) -> dict[str, str]:
    host.change(lambda c, a: create_team(c, a, NewScope(name="closed")))
    soon = datetime.now(UTC) + timedelta(seconds=2)  # in the future, or it is refused
    made = {
        "good": host.key("good", rpm=60, tpm=100_000_000, budget=NewBudget(max_spend="1000")),
        "plain": host.key("plain"),
        "rpm": host.key("rpm", rpm=1),
        "tpm": host.key("tpm", tpm=100),
        "rpd": host.key("rpd", rpd=0),
        "tpd": host.key("tpd", tpd=100),
        "budget": host.key("budget", budget=NewBudget(max_spend="0.0001", duration="total")),
        "zero": host.key("zero", rpm=0),
        "models": host.key("models", allowed_models=("gpt-4*",)),
        "endpoints": host.key("endpoints", allowed_endpoints=("embeddings",)),
        "elsewhere": host.key("elsewhere", allowed_ips=("203.0.113.0/24",)),
        "revoked": host.key("revoked"),
        "expired": host.key("expired", expires_at=soon.isoformat()),
        "closed": host.key("closed", team="closed"),
        "unknown": "sk-nemo-" + "u" * 20,
    }
    host.change(lambda c, a: keys.revoke(c, a, "revoked"))
    host.change(lambda c, a: patch_scope(c, a, Kind.TEAM, "closed", ScopePatch(status="disabled")))
    # The server knows the time by its own clock, so that only waiting makes a key expire.
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))
    return made


@pytest.fixture(scope="session")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    with FakeUpstream() as upstream:
        options: dict[str, Any] = {
            "upstreams": upstream.settings(),
            "upstream_first_byte_timeout": 1.0,
            "upstream_total_timeout": 5.0,
            "max_body_bytes": 100_000,
        }
        host = Host(tmp_path_factory.mktemp("contract"), options)
        made = _keys(host)
        with host.serve("rsgi") as server:
            yield Contract(host, server, upstream, made)
