"""Test the server against its OpenAPI document, by schemathesis with all checks."""

import subprocess
import sys
from pathlib import Path

import pytest

from nemorouter.roles import Role
from tests.support.api import Api, management_key
from tests.support.servers import Host

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
CONFIG = """
[[operations]]
include-path = "/api/v1/usage"
# "since" must not lie after "until", nor too far before it: no schema can say so.
checks.positive_data_acceptance.enabled = false

[[operations]]
include-name = [
    "DELETE /api/v1/org",
    "DELETE /api/v1/members/{id}",
    "DELETE /api/v1/management-keys/{id}",
]
# They would end the caller itself.
enabled = false
"""


@pytest.mark.parametrize(
    ("phases", "examples"),
    [("coverage", 1), pytest.param("fuzzing,stateful", 50, marks=pytest.mark.campaign)],
)
def test_the_server_does_what_the_document_says(tmp_path: Path, phases: str, examples: int) -> None:
    host = Host(tmp_path)
    key = management_key(host)
    management_key(
        host, Role.OWNER
    )  # so that the caller may give up its role without being the last
    (tmp_path / "schemathesis.toml").write_text(CONFIG, "utf-8")
    with host.serve() as server:
        document = f"http://127.0.0.1:{server.port}/api/v1/openapi.json"
        command = [
            str(SCHEMATHESIS),
            "--config-file",
            str(tmp_path / "schemathesis.toml"),
            "run",
            document,
        ]
        command += [
            "--phases",
            phases,
            "--max-examples",
            str(examples),
            "--seed",
            "1",
            "--no-color",
        ]
        command += ["--generation-database", "none"]
        command += ["-H", f"Authorization: Bearer {key}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert Api(server, key)("GET", "/me").status in (200, 401)
    assert "control_failed" not in server.log.read_text()
