"""A shell, and the end of whatever was started in it."""

import asyncio
import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2), linux/prctl.h
_CHECK_INTERVAL_S = 0.03
#: What programs in the background get, one a check: what they get from a terminal that goes away, and then no choice.
_SIGNALS = [signal.SIGHUP] * 50 + [signal.SIGKILL] * 50


async def run_shell(environment: dict[str, str]) -> None:
    """Runs bash on our standard input and output; it takes the terminal, if that is one, and with it ^C.

    Returns when all that it has left in the background has been ended. Cancelled, it ends the shell.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # those in the background become our children
    others = _children()
    shell = await asyncio.create_subprocess_exec("bash", "--noprofile", "--norc", env=os.environ | environment)
    try:
        await shell.wait()
    finally:
        if shell.returncode is None:
            shell.send_signal(signal.SIGHUP)  # SIGTERM an interactive shell ignores
            await shell.wait()
        _end_all_but(others)


def _end_all_but(others: set[int]) -> None:
    """Blocks, so that a signal that comes now does not cancel it: a terminal that goes away ends the shell, too."""
    for number in _SIGNALS:
        left = {pid for pid in _children() - others if os.waitpid(pid, os.WNOHANG) == (0, 0)}
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(_CHECK_INTERVAL_S)


def _children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()))
