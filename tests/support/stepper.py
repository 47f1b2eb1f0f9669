"""Stop a process between two machine instructions, look at shared memory, go on or kill it there.

Linux on any machine that can step (ptrace). The process must be our child and have one thread.
"""

import ctypes
import os
import signal
from types import TracebackType
from typing import Final, Self

_STEP: Final = 9
_ATTACH: Final = 16
_KILL_WITH_US: Final = 0x4200, 0x00100000  # PTRACE_SETOPTIONS, PTRACE_O_EXITKILL
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Stepper:
    """A process that stands still until ``step``, and is killed where it stands at the end.

    Use it as ``with Stepper(pid) as stepper``.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> Self:
        self._call(_ATTACH)
        self._wait()
        self._call(_KILL_WITH_US[0], _KILL_WITH_US[1])
        return self

    def step(self, count: int = 1) -> None:
        """Let it execute so many instructions."""
        for _ in range(count):
            self._call(_STEP)
            self._wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _wait(self) -> None:
        _, status = os.waitpid(self._pid, 0)
        assert os.WIFSTOPPED(status), f"it ended: {status}"

    def _call(self, request: int, data: int = 0) -> None:
        if _libc.ptrace(request, self._pid, None, data) < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
