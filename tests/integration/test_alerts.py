"""Test budget alerts on a real server: found once a window, listed, and posted with a signature."""

import hashlib
import hmac
import threading
from pathlib import Path

import msgspec

from nemorouter.services.budgets.deliver import SIGNATURE
from tests.support.api import Api, management_key
from tests.support.receiver import receiver
from tests.support.servers import Host, chat, until


def test_an_alert_is_told_once_and_signed(tmp_path: Path) -> None:
    host = Host(tmp_path, {"webhook_private_addresses": True})
    with receiver(200) as (url, got), host.serve() as server:
        api = Api(server, management_key(host))
        secret = api.ok("POST", "/webhooks", {"url": url})["secret"]
        made = api.ok("POST", "/keys", {"name": "spender"})
        assert server.call(body=chat(), key=made["key"]).status == 200
        spend = until(lambda: (s := api.ok("GET", f"/keys/{made['id']}")["spend"]) != "0.00" and s)
        api.ok("PUT", f"/budgets/{made['id']}", {"max_spend": spend, "duration": "total"})
        until(lambda: len(api.ok("GET", "/alerts")["data"]) == 3)
        found = api.ok("GET", "/alerts")["data"]
        assert sorted(one["threshold"] for one in found) == [50, 80, 100]
        assert {(one["name"], one["spent"]) for one in found} == {("spender", spend)}
        until(lambda: len(got) == 3)
        for headers, body in got:
            stamp, mac = (part.partition("=")[2] for part in headers[SIGNATURE].split(","))
            expected = hmac.new(
                secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256
            ).hexdigest()
            assert hmac.compare_digest(mac, expected)
            assert msgspec.json.decode(body)["data"] in found
        assert server.call(body=chat(), key=made["key"]).status == 402
        threading.Event().wait(2.5)  # two more turns of the watcher
        assert len(api.ok("GET", "/alerts")["data"]) == len(got) == 3
        files = [path for path in host.settings.data_dir.rglob("*") if path.is_file()]
        assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert "budget_alert" in server.log.read_text()


def test_webhooks_lead_to_no_private_address(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.serve() as server:
        api = Api(server, management_key(host))
        for url in (
            "http://example.org/",
            "https://u:p@example.org/",
            "ftp://example.org/",
            "https:///x",
            "x" * 3000,
        ):
            assert api("POST", "/webhooks", {"url": url}).status == 400
