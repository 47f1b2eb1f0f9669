"""Processes that a server has started."""

from pathlib import Path


def children(pid: int, *, drainer: bool = False) -> list[int]:
    """Workers of a master, or its drainer."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [
        child
        for child in found
        if (b"import drain" in Path(f"/proc/{child}/cmdline").read_bytes()) == drainer
    ]


def tree(pid: int) -> list[int]:
    """List a process and all that it started."""
    found = [pid]
    at = 0
    while at < len(found):
        for task in Path(f"/proc/{found[at]}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
        at += 1
    return found
