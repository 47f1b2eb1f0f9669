"""The files for proxies, run by the programs that they are for, in front of a real server."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.servers import Host, Server, chat, free_port, until

DEPLOY = Path(__file__).parents[2] / "deploy"


@contextmanager
def nginx(folder: Path, server: Server) -> Iterator[Server]:
    """Run nginx by the file in ``deploy``, without TLS, in front of a server."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    for old, new in (
        ("127.0.0.1:8000", f"127.0.0.1:{server.port}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port}"),
        ("events {}", f"events {{}}\ndaemon off;\nmaster_process off;\npid {folder}/nginx.pid;"),
        (
            "http {",
            "http {\n" + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in _TEMPORARY),
        ),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    text = re.sub(r"\n *ssl_certificate\S* .*;", "", text)
    path = folder / "nginx.conf"
    path.write_text(text, "utf-8")
    command = [program, "-c", str(path), "-e", str(folder / "error.log"), "-p", str(folder)]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    process = subprocess.Popen([*command, "-g", "error_log stderr;"], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port))
        yield Server(port, process, folder / "error.log")
    finally:
        process.terminate()
        process.wait(10)


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nginx_tells_the_true_address(tmp_path: Path) -> None:
    """Row P13 of the attacks: clients chose the address that ``allowed_ips`` looks at."""
    host = Host(tmp_path, {"trusted_proxies": ("127.0.0.1/32",)})
    ours = host.key(allowed_ips=("127.0.0.1",))
    theirs = host.key(allowed_ips=("203.0.113.7",))
    with host.serve() as server, nginx(tmp_path, server) as proxy:
        for forged in (
            (),
            (("x-forwarded-for", "203.0.113.7"),),
            (("X-FORWARDED-FOR", "203.0.113.7, 127.0.0.1"),),
        ):
            assert proxy.call(body=chat(), key=ours, headers=forged).status == 200
            assert proxy.call(body=chat(), key=theirs, headers=forged).status == 401
