"""Rows as policies: every column arrives, owners come first, and one reader sees one instant."""

from nemorouter.store import policies
from nemorouter.store.engine import Store
from nemorouter.types import Duration, Endpoint, Kind, ModelPrice, Policy, Status, per_rate
from tests.support.sql import a_policy, a_price, sql

ORG = "INSERT INTO orgs (id, name, version) VALUES (1, 'o', 11)"
TEAM = (
    "INSERT INTO teams (id, org_id, name, version, rpm, rpm_burst, tpm, tpm_burst, status) VALUES "
)
USER = (
    "INSERT INTO users (id, org_id, email, name, version, allowed_models) "
    "VALUES (3, 1, 'e', 'u', 13, '[\"m\"]')"
)
KEY = (
    "INSERT INTO keys (id, org_id, team_id, user_id, name, digest, pepper_id, last4, status, rpm, "
    "version, allowed_models, allowed_endpoints, allowed_ips, expires_ms) "
    "VALUES (?, 1, 2, ?, 'k', ?, 1, 'abcd', 2, 60, 14, "
    '\'["gpt-*", "o3"]\', 3, \'["10.0.0.0/8"]\', 99)'
)


async def fill(store: Store) -> None:
    async with store.begin() as connection:
        await sql(connection, ORG)
        await sql(connection, TEAM + "(2, 1, 't', 12, 1, 2, 3, 4, 3)")
        await sql(connection, USER)
        await sql(connection, KEY, (4, 3, b"d" * 32))
        await sql(connection, KEY, (5, None, b"e" * 32))
        await sql(connection, "INSERT INTO budgets VALUES (1, 4, 4, 0, 1, 0), (2, 2, 2, 7, 2, 0)")


async def test_every_column_arrives(store: Store) -> None:
    await fill(store)
    async with store.read() as connection:
        team = await a_policy(connection, Kind.TEAM, 2)
        user = await a_policy(connection, Kind.USER, 3)
        key = await a_policy(connection, Kind.KEY, 4)
        assert await a_policy(connection, Kind.KEY, 99) is None
    assert team == Policy(
        kind=Kind.TEAM,
        id=2,
        version=12,
        status=Status.DISABLED,
        org=1,
        limits=per_rate(rpm=1, tpm=3),
        bursts=per_rate(rpm=2, tpm=4),
        cap=7,
        duration=Duration.WEEKLY,
        name="t",
    )
    assert user == Policy(kind=Kind.USER, id=3, version=13, org=1, models=("m",), name="u")
    assert key == Policy(
        kind=Kind.KEY,
        id=4,
        version=14,
        status=Status.REVOKED,
        org=1,
        team=2,
        user=3,
        digest=b"d" * 32,
        limits=per_rate(rpm=60),
        cap=0,
        duration=Duration.DAILY,
        expires_ms=99,
        endpoints=1 << Endpoint.CHAT_COMPLETIONS | 1 << Endpoint.COMPLETIONS,
        models=("gpt-*", "o3"),
        ips=("10.0.0.0/8",),
        name="k",
        last4="abcd",
    )


async def test_in_bulk_they_are_the_same_owners_first(store: Store) -> None:
    await fill(store)
    async with store.read() as connection:
        bulk = [policy async for lot in policies.all_policies(connection) for policy in lot]
        singly = [await a_policy(connection, policy.kind, policy.id) for policy in bulk]
    assert bulk == singly
    assert [policy.kind for policy in bulk] == [Kind.ORG, Kind.TEAM, Kind.USER, Kind.KEY, Kind.KEY]
    assert bulk[-1].user == 0


async def test_changes_in_order(store: Store) -> None:
    async with store.begin() as connection:
        await sql(
            connection,
            "INSERT INTO changes VALUES (2, 0, 0, 'm'), (1, 4, 7, NULL), (3, 1, 1, NULL)",
        )
        await sql(connection, "UPDATE meta SET value = '3' WHERE key = 'change_seq'")
    async with store.read() as connection:
        assert await policies.change_seq(connection) == 3
        assert await policies.changes_since(connection, 0, limit=2) == [
            (1, 4, 7, None),
            (2, 0, 0, "m"),
        ]
        assert await policies.changes_since(connection, 2) == [(3, 1, 1, None)]


async def test_prices(store: Store) -> None:
    async with store.begin() as connection:
        await sql(
            connection,
            "INSERT INTO prices VALUES ('a', 1, NULL, 3, 4, 5, 6), ('b', NULL, NULL, 0, 0, 1, 7)",
        )
    known = ModelPrice(
        model="a", version=6, input=1, cached=None, output=3, request=4, max_output=5
    )
    async with store.read() as connection:
        assert await a_price(connection, "a") == known
        assert await a_price(connection, "c") is None
        assert sorted(price.model for price in await policies.all_prices(connection)) == ["a", "b"]
