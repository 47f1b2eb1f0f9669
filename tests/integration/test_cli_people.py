"""People, orgs and management keys from the command line, and what a server then makes of them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.api import Api, form
from tests.support.servers import Host

NEMO = Path(sys.executable).parent / "nemorouter"


def nemo(host: Host, *arguments: str) -> Any:
    """Return the JSON of a command that must succeed."""
    command = [str(NEMO), *arguments, "--data-dir", str(host.settings.data_dir), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def test_people_orgs_and_management_keys(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.serve() as server:
        made = nemo(host, "management-keys", "create", "--name", "robot")
        api = Api(server, made["key"])
        assert api.ok("GET", "/me")["role"] == "owner"
        invited = nemo(host, "members", "invite", "--email", "dory@example.org", "--role", "viewer")
        fields = {"token": invited["path"].partition("=")[2], "name": "Dory"}
        words = {"password": "a long password", "again": "a long password"}
        assert form(server, "/invitations/accept", fields | words).status == 303
        assert form(server, "/invitations/accept", fields | words).status in (400, 404), (
            "a link works once"
        )
        people = api.ok("GET", "/members")["data"]
        assert {one["email"]: one["role"] for one in people}["dory@example.org"] == "viewer"
        assert (
            nemo(host, "members", "update", "dory@example.org", "--role", "admin")["role"]
            == "admin"
        )
        assert nemo(host, "members", "remove", "dory@example.org") == {
            "member": "dory@example.org",
            "removed": True,
            "keys_made": [],
        }
        assert len(api.ok("GET", "/members")["data"]) == len(people) - 1
        other = nemo(host, "orgs", "create", "--name", "Reef", "--email", "gill@example.org")
        assert [one["name"] for one in nemo(host, "orgs", "list")["data"]] == ["Default", "Reef"]
        fields["token"] = other["path"].partition("=")[2]
        assert form(server, "/invitations/accept", fields | words).status == 303
        assert nemo(host, "orgs", "update", "--rpm", "600")["rpm"] == 600
        assert (
            nemo(host, "management-keys", "revoke", made["management_key"]["id"])["status"]
            == "revoked"
        )
        assert api("GET", "/me").status == 401
        listed = nemo(host, "management-keys", "list")["data"]
        assert [one["status"] for one in listed] == ["revoked"]


def test_the_document_is_the_server_s(tmp_path: Path) -> None:
    host = Host(tmp_path)
    printed = subprocess.run([NEMO, "openapi"], capture_output=True, check=True, timeout=60).stdout
    with host.serve() as server:
        assert Api(server).ok("GET", "/openapi.json") == json.loads(printed)
    assert re.fullmatch(r"3\.1\.\d", json.loads(printed)["openapi"])
