"""Models that clients invent, on a real server: pages and reports stay small, the log is whole."""

from pathlib import Path

from nemorouter.store.sums import MAX_UNPRICED, OTHER
from tests.support.api import Api, management_key
from tests.support.servers import Host, chat, until

MANY = MAX_UNPRICED + 150


def test_the_reports_hold_some_names_and_the_log_all(tmp_path: Path) -> None:
    """Row P11 of the attacks."""
    host = Host(tmp_path)
    api_key = management_key(host)
    key = host.key()
    with host.serve() as server:
        for n in range(MANY):
            assert server.call(body=chat(model=f"invented-{n}"), key=key).status == 200
        assert len(host.rows(MANY)) == MANY
        api = Api(server, api_key)
        until(lambda: sum(row["requests"] for row in api.ok("GET", "/usage")["data"]) == MANY)
        for interval in ("day", "hour"):
            rows = api.ok("GET", f"/usage?group_by=model&interval={interval}")["data"]
            assert sum(row["requests"] for row in rows) == MANY
            groups = {row["group"] for row in rows}
            assert len(groups) == MAX_UNPRICED + 1
            assert OTHER in groups
        last = api.ok("GET", f"/logs?model=invented-{MANY - 1}")["data"]
        assert [row["model"] for row in last] == [f"invented-{MANY - 1}"]
