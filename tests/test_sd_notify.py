"""What a service manager hears, on a socket as systemd's."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from usbbtd.sd_notify import feed_watchdog, notify, watchdog_period_s

TIME_LIMIT_S = 30


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


async def heard(manager: socket.socket) -> bytes:
    async with asyncio.timeout(TIME_LIMIT_S):
        return await asyncio.get_running_loop().sock_recv(manager, 4096)


async def test_the_manager_hears_what_it_is_told(manager: socket.socket) -> None:
    notify("READY=1\nSTATUS=well")
    assert await heard(manager) == b"READY=1\nSTATUS=well"
    manager.close()
    notify("READY=1")  # nobody listens any more: no harm


@pytest.mark.parametrize(
    ("period", "pid", "expected"),
    [(None, None, 0), ("", None, 0), ("-1", None, 0), ("30000000", None, 30), ("500000", "self", 0.5), ("1", "1", 0)],
)
def test_whose_watchdog_it_is(
    monkeypatch: pytest.MonkeyPatch, period: str | None, pid: str | None, expected: float
) -> None:
    for name, value in (("WATCHDOG_USEC", period), ("WATCHDOG_PID", str(os.getpid()) if pid == "self" else pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert watchdog_period_s() == expected


async def test_without_a_watchdog_nobody_is_fed(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)

    async def fail() -> bool:
        pytest.fail("asked")

    await feed_watchdog(fail)


async def test_only_progress_feeds_the_watchdog(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    works, asked, answer = True, asyncio.Semaphore(0), asyncio.Event()
    answer.set()

    async def goes_on() -> bool:
        asked.release()
        await answer.wait()
        return works

    async def next_asked() -> None:
        while not asked.locked():
            await asked.acquire()
        await asyncio.wait_for(asked.acquire(), TIME_LIMIT_S)

    feeding = asyncio.create_task(feed_watchdog(goes_on))
    for _ in range(3):
        assert await heard(manager) == b"WATCHDOG=1"
    works = False
    drain(manager)
    for _ in range(10):  # it is asked again and again
        await next_asked()
    assert drain(manager) == []
    works = True
    assert await heard(manager) == b"WATCHDOG=1"
    answer.clear()
    await next_asked()
    drain(manager)
    await asyncio.wait([feeding], timeout=0.2)  # it hangs: so does the food
    assert drain(manager) == []
    answer.set()
    assert await heard(manager) == b"WATCHDOG=1"
    feeding.cancel()


def drain(manager: socket.socket) -> list[bytes]:
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(manager.recv(4096))
    return messages
