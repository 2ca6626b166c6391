"""The part of the C library for Windows, in Wine, beside a Linux domain."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.clients.programs import MINGW_64
from tests.sim.windows.wine import Wine
from tests.support.domain import Domain, NewDomain
from usbbtd.xen.xen import Xen

FLAGS = [
    "-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-D_WIN32_WINNT=0x0601",
    "-D__USE_MINGW_ANSI_STDIO=1", "-DL2CAPIF_WITHOUT_XEN",
]  # fmt: skip
NO_XEN, NO_DRIVER = -4098, -4099
SOURCES = [
    *(path for path in (ROOT / "clients/c/src").glob("*.c") if not path.name.startswith("os_linux")),
    ROOT / "tests/clients/os_windows.c",
]


@pytest.fixture(scope="module")
def program(mingw: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("windows") / "os_windows.exe"
    directories = ("clients/c/include", "clients/c/src", "usbbtd/abi/include")
    includes = [f"-I{ROOT / name}" for name in directories]
    subprocess.run([MINGW_64, *FLAGS, *includes, "-o", target, *SOURCES], check=True)
    return target


class Running:
    """The program, which goes on a step each time that it is told to."""

    def __init__(self, wine: Wine, program: Path, guest: Domain, peer: Domain) -> None:
        self._process = subprocess.Popen(
            wine.command(program, peer.domid),
            env=os.environ | guest.world.environment(guest.domid) | wine.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait(self, done: str) -> None:
        assert self._process.stdout
        assert self._process.stdout.readline().strip() == done

    def go(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Also when it has ended."""
        self._process.kill()
        self._process.communicate()


async def map_and_answer(guest: int) -> str:
    """Reads what Windows has written into a page of its own, answers there, and waits for its notification."""
    async with Xen.open() as xen:
        home = f"/local/domain/{guest}/data"
        async with xen.store.watch(f"{home}/port") as changes:
            async for _ in changes:
                if port := await xen.store.read(f"{home}/port"):
                    break
        page = xen.grants.map(guest, [int(await xen.store.read(f"{home}/ref") or 0)])
        said = bytes(page.memory[:12]).decode()
        page.memory[:11] = b"from Linux\0"
        notified = asyncio.Event()
        channel = xen.evtchn.bind_interdomain(guest, int(port or 0), notified.set)
        await xen.store.write(f"{home}/go", "read")
        while page.memory[0] != ord("."):
            await notified.wait()
            notified.clear()
        page.memory[:9] = b"notified\0"
        channel.notify()
        channel.close()
        page.close()
        return said


def held(guest: Domain) -> tuple[int, int]:
    statistics = guest.world.statistics()[guest.domid]
    return statistics["shared"], statistics["ports"]


@pytest.fixture
def guest(new_domain: NewDomain) -> Domain:
    return new_domain()


@pytest.fixture
def start(wine: Wine, program: Path, guest: Domain) -> Iterator[Callable[[Domain], Running]]:
    """Starts the program in the guest, with a peer."""
    started: list[Running] = []

    def start(peer: Domain) -> Running:
        started.append(Running(wine, program, guest, peer))
        return started[-1]

    yield start
    for running in started:
        running.kill()


def test_all_that_the_library_does_with_it(
    guest: Domain, new_domain: NewDomain, start: Callable[[Domain], Running]
) -> None:
    peer = new_domain()
    for node in ("ref", "port", "go"):
        path, permissions = f"{guest.home}/data/{node}", [f"n{guest.domid}", f"b{peer.domid}"]
        guest.world.change_store(write=[(path, "", permissions)])
    answering = peer.start(map_and_answer, guest.domid)
    running = start(peer)
    running.wait("the thread has ended")
    assert held(guest) == (1, 1)
    running.go()
    assert answering.result() == "from Windows"
    running.wait("shared and unshared")
    assert held(guest) == (1, 1)
    running.go()
    running.wait("all given back")
    assert held(guest) == (0, 0)
    running.go()
    running.wait("opened again")
    assert held(guest) == (0, 0)
    running.go()
    running.wait("shared again")
    assert held(guest) == (1, 0)
    running.kill()
    assert held(guest) == (0, 0)


@pytest.mark.parametrize(("driver", "xen", "error"), [(False, True, NO_DRIVER), (True, False, NO_XEN)])
def test_what_is_missing_is_told(
    wine: Wine, program: Path, guest: Domain, tmp_path: Path, driver: bool, xen: bool, error: int
) -> None:
    environment = os.environ | guest.world.environment(guest.domid) | wine.environment
    if not xen:
        environment["XENSTORED_PATH"] = str(tmp_path)
    with contextlib.nullcontext() if driver else wine.without_driver():
        done = subprocess.run(wine.command(program, 0), env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"os_open: {error}\n"
