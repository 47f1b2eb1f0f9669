"""Describe the machine that a figure was taken on, without its host name or any path."""

import os
import platform
import time
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """A description of a machine, as plain data that goes into a report."""

    date: str
    cpu: str
    cores: int
    memory_gib: int
    kernel: str
    python: str


def machine() -> Machine:
    """Describe the machine that runs this process; the date is today's in UTC."""
    kernel, _, _ = platform.release().partition("-")
    return Machine(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        cpu=processor(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        kernel=f"Linux {kernel}",
        python=platform.python_version(),
    )


def processor() -> str:
    """Return the processor's name, with its family and model number where Linux reports them."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields:
        return f"{name} (family {fields['cpu family']}, model {fields.get('model', '?')})"
    return name
