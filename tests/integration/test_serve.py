"""Test ``serve`` as an operator meets it: first run, wrong set-up, ends of workers and master."""

import contextlib
import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from granian.constants import Interfaces

from nemorouter.datadir.paths import DataDir
from nemorouter.server.master import Master
from nemorouter.settings import Settings, UpstreamSettings
from tests.support.processes import children
from tests.support.servers import SERVE, Host, Server, chat, free_port, server_command, until
from tests.support.upstreams import FakeUpstream


def serve(settings: Settings) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        **settings.to_env(),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", SERVE], env=env, stdout=pipe, stderr=pipe, text=True
    )


def refused(settings: Settings) -> str:
    """Return the one line on stderr of a server that does not start."""
    out, err = serve(settings).communicate(timeout=30)
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    return lines[0]


def test_the_first_run_prints_a_command_that_works(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "data", port=free_port(), capacity=100, log_level="warning"
    )
    process = serve(settings)
    assert process.stdout is not None
    printed = ""
    while "-d '" not in printed:
        printed += process.stdout.readline()
    command = shlex.split(printed[printed.index("curl") :].replace("\\\n", ""))
    body = {}
    until(lambda: _answers(settings.port))
    body = msgspec.json.decode(
        subprocess.run([*command, "-s"], capture_output=True, check=True).stdout
    )
    assert body["choices"][0]["message"]["content"] == "Hello, Nemo!"
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    key = re.findall(r"sk-nemo-\w{20}", printed)[0]
    assert key not in out + err

    again = serve(settings)
    assert again.stdout is not None
    assert again.stdout.readline().startswith(
        f"NemoRouter serves http://127.0.0.1:{settings.port}/v1"
    )
    again.terminate()
    out, _ = again.communicate(timeout=20)
    assert "curl" not in out


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_the_port_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(Settings(data_dir=tmp_path / "data", port=port))
    assert line == f"nemorouter: Cannot listen on 127.0.0.1 port {port}: Address already in use."


def test_the_data_directory_cannot_be_used(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "file").write_text("x")
    assert str(tmp_path / "file") in refused(Settings(data_dir=tmp_path / "file", port=port))
    host = Host(tmp_path)
    pepper = host.settings.pepper_path.read_text()
    host.settings.pepper_path.write_text(pepper.replace(pepper[-9:-1], "0badc0de"))
    assert "pepper" in refused(msgspec.structs.replace(host.settings, port=port))
    host.settings.pepper_path.unlink()
    assert "pepper" in refused(msgspec.structs.replace(host.settings, port=port))


@pytest.mark.parametrize("kind", ["granian-rsgi", "asgi", "uvicorn"])
def test_other_servers_refuse_a_wrong_set_up_too(tmp_path: Path, kind: str) -> None:
    host = Host(tmp_path)
    assert "Unknown setting NEMOROUTER_PROT" in _output(kind, host.settings, NEMOROUTER_PROT="1")
    pepper = host.settings.pepper_path.read_text()
    host.settings.pepper_path.write_text(pepper.replace(pepper[-9:-1], "0badc0de"))
    assert "does not belong to this store" in _output(kind, host.settings)
    assert DataDir(host.settings.data_dir).note() is None, "an arena was made under a wrong pepper"
    host.settings.pepper_path.unlink()
    assert "is missing" in _output(kind, host.settings)


def _output(kind: str, settings: Settings, **more: str) -> str:
    """Return what a server prints that ends by itself, in failure."""
    env = {
        **os.environ,
        **settings.to_env(),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **more,
    }
    command = server_command(kind, "nemorouter.app:app", free_port())
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_provider_key_that_is_not_set(tmp_path: Path) -> None:
    with FakeUpstream() as upstream:
        host = Host(tmp_path, {"upstreams": upstream.settings(api_key_env="NO_SUCH_VARIABLE")})
        line = refused(msgspec.structs.replace(host.settings, port=free_port()))
    assert "NO_SUCH_VARIABLE" in line


def test_a_provider_key_that_no_header_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVIDER_KEY", "provider\nsecret")
    with FakeUpstream() as upstream:
        host = Host(tmp_path, {"upstreams": upstream.settings(api_key_env="PROVIDER_KEY")})
        line = refused(msgspec.structs.replace(host.settings, port=free_port()))
    assert "PROVIDER_KEY" in line
    assert "secret" not in line


def test_a_provider_that_cannot_have_that_address(tmp_path: Path) -> None:
    upstream = UpstreamSettings(name="away", base_url="http://exa mple/v1", models=("*",))
    host = Host(tmp_path, {"upstreams": (upstream,)})
    line = refused(msgspec.structs.replace(host.settings, port=free_port()))
    assert "'away': base_url" in line


def test_the_provider_key_goes_up_and_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVIDER_KEY", "provider-secret\n")  # as a file ends
    with FakeUpstream() as upstream:
        host = Host(tmp_path, {"upstreams": upstream.settings(api_key_env="PROVIDER_KEY")})
        key = host.key()
        with host.serve() as server:
            answers = [
                server.call(body=chat(model), key=key) for model in ("fake-ok", "fake-tells-key")
            ]
        assert {seen.headers["authorization"] for seen in upstream.seen} == {
            "Bearer provider-secret"
        }
    assert answers[1].status == 502, "the provider refused our key, not the client's"
    assert "provider-secret" not in repr(answers) + server.log.read_text()


def test_killed_workers_come_back(tmp_path: Path) -> None:
    host = Host(tmp_path)
    key = host.key()
    with host.serve(workers=2) as server:
        for _ in range(3):
            for worker in children(server.process.pid):
                os.kill(worker, signal.SIGKILL)
            until(lambda: _works(server, key), what="no worker came back")
        until(lambda: len(children(server.process.pid)) == 2)
        (drainer,) = children(server.process.pid, drainer=True)
        os.kill(drainer, signal.SIGKILL)
        count = _count_after(server, key)
        assert len(host.rows(count)) == count  # a worker drains now
        assert "WARNING" not in server.log.read_text()


def test_a_server_outlives_what_refuses_a_later_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a full disk does. Only a set-up that never worked ends the server."""
    host = Host(tmp_path)
    key = host.key()
    proven = f"import nemorouter.server.master as module; module._PROVEN_S = 0; {SERVE}"
    monkeypatch.setattr("tests.support.servers.SERVE", proven)
    with host.serve(workers=2) as server:
        pepper = host.settings.pepper_path.rename(tmp_path / "elsewhere")
        os.kill(children(server.process.pid)[0], signal.SIGKILL)
        until(lambda: "is missing" in server.log.read_text(), what="no worker was refused")
        until(
            lambda: _works(server, key), what="the other worker does not answer"
        )  # one ask may meet the dying one
        pepper.rename(host.settings.pepper_path)
        until(
            lambda: b"nemorouter_workers 2" in server.call("/metrics").body,
            what="no worker came back",
        )


def test_counters_never_fall_when_workers_die(tmp_path: Path) -> None:
    host = Host(tmp_path)
    key = host.key()
    with host.serve(workers=2) as server:
        seen: list[dict[str, int]] = []
        for _ in range(4):
            for _ in range(5):
                server.call(body=chat(), key=key)
                server.call(body=chat(), key="sk-nemo-" + "x" * 20)
            seen.append(_counters(server))
            os.kill(children(server.process.pid)[0], signal.SIGKILL)
            end = time.monotonic() + 0.6  # long enough for its journal to be drained and deleted
            while time.monotonic() < end:
                with contextlib.suppress(OSError):
                    seen.append(_counters(server))
        until(lambda: len(list((host.settings.data_dir / "journal").iterdir())) == 2)
        seen.append(_counters(server))
    for before, after in itertools.pairwise(seen):
        assert all(after[name] >= value for name, value in before.items()), (before, after)
    assert seen[-1]["nemorouter_admitted_total"] == seen[-1]["nemorouter_settled_total"] == 20
    assert seen[-1]['nemorouter_refused_total{code="key_unknown"}'] == 20


def _counters(server: Server) -> dict[str, int]:
    lines = server.call("/metrics").body.decode().splitlines()
    found = (line.split(" ") for line in lines if "_total" in line and not line.startswith("#"))
    return {name: int(value) for name, value in found}


def _works(server: Server, key: str) -> bool:
    try:
        return server.call(body=chat(), key=key).status == 200
    except OSError:
        return False


def _count_after(server: Server, key: str) -> int:
    """One more request, and how many were settled in all, as the metrics of the host tell."""
    assert server.call(body=chat(), key=key).status == 200
    return 4  # three after each round of kills, and this one


def test_workers_die_with_their_master(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.serve(workers=2) as server:
        everyone = children(server.process.pid) + children(server.process.pid, drainer=True)
        server.process.kill()
        until(
            lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in everyone),
            what="somebody lives on",
        )


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.2], ids=str)
def test_sigterm_is_heard_by_workers_that_just_start(tmp_path: Path, after_s: float) -> None:
    host = Host(tmp_path)
    with host.serve(workers=2) as server:
        os.kill(children(server.process.pid)[0], signal.SIGKILL)
        time.sleep(after_s)  # somewhere in the start of its successor
        server.process.terminate()
        assert server.process.wait(15) == 0


@pytest.mark.parametrize("asked", [True, False])
def test_only_an_end_that_nobody_asked_for_is_a_failure(tmp_path: Path, asked: bool) -> None:
    """Note a worker's death in the instant before the signal, as Granian does.

    No test can hit that instant at will.
    """
    master = Master(
        DataDir(tmp_path),
        "nemorouter.server.worker:worker",
        factory=True,
        interface=Interfaces.RSGI,
        workers_kill_timeout=1,
    )
    master._sso = None  # it never listened
    master._start_ipc()
    master.interrupt_children.append(0)
    master.interrupt_signal = asked
    with contextlib.nullcontext() if asked else pytest.raises(SystemExit):
        master.shutdown()


def test_sigterm_lets_streams_finish(tmp_path: Path) -> None:
    with FakeUpstream() as upstream:
        host = Host(tmp_path, {"upstreams": upstream.settings()})
        key = host.key()
        with host.serve() as server:
            upstream.alias["gpt-slow"] = "stream-second"
            answers = []
            thread = threading.Thread(
                target=lambda: answers.append(
                    server.call(body=chat("gpt-slow", stream=True), key=key)
                )
            )
            thread.start()
            until(lambda: upstream.seen)
            time.sleep(0.2)
            server.process.terminate()
            thread.join()
            assert server.process.wait(20) == 0
        assert answers[0].body.endswith(b"data: [DONE]\n\n")
        (row,) = host.rows(1)
        assert (row["status"], row["output_tokens"]) == (200, 7)


def test_the_advice_about_a_damaged_host_id_can_be_followed(tmp_path: Path) -> None:
    """After everything ran once, and was killed, so that all that it makes lies there."""
    host = Host(tmp_path)
    key = host.key()
    data = DataDir(host.settings.data_dir)
    with host.serve() as server:
        assert server.call("/login").status == 200
        assert server.call(body=chat(), key=key).status == 200
        host.rows(1)
        until(data.alerts_lock.exists)
        server.process.kill()
        server.process.wait()
    data.host_id_file.write_text("damaged")
    line = refused(msgspec.structs.replace(host.settings, port=free_port()))
    assert line.endswith("Stop all servers, delete it and start again.")
    data.host_id_file.unlink()
    with host.serve() as server:
        assert server.call(body=chat(), key=key).status == 200
        host.rows(2)
