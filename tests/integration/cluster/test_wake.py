"""The bell of a host's agent."""

from pathlib import Path

import pytest

from nemorouter.cluster.wake import Bell, open_listener, silence


@pytest.mark.parametrize("folder", ["short", "long" * 40])
def test_a_ring_is_heard_once_and_never_waits(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "agent.sock"
    bell = Bell(path)
    bell()  # nobody is there
    with open_listener(path) as listener:
        for _ in range(2000):
            bell()  # also where nobody reads
        assert listener.recv(16) == b"!"
        silence(listener)
        with pytest.raises(BlockingIOError):
            listener.recv(16)
    bell()  # gone again
    with open_listener(path) as listener:
        bell()
        assert listener.recv(16) == b"!", "the next agent takes the place of the dead one"
    bell.close()
    assert path.stat().st_mode & 0o777 == 0o600
