"""libvl2cap in a guest whose own system fails: xenstore refuses, or is gone; no more files can be opened."""

import os
import socket
import subprocess
from pathlib import Path
from threading import Thread

import pytest

from tests.clients.programs import TIME_LIMIT_S, Vl2cap
from tests.support.domain import Domain

pytestmark = pytest.mark.parametrize("vl2cap", ["linux"], indirect=True)


@pytest.fixture
def guest(guest: Domain) -> Domain:
    backend = guest.world.read(f"{guest.home}/device/vl2cap/0/backend")
    guest.world.wait_value(f"{backend}/state", "2")
    return guest


def test_a_device_that_may_not_be_written_is_told_and_left_alone_for_a_while(guest: Domain, vl2cap: Vl2cap) -> None:
    path = f"{guest.home}/device/vl2cap/0"
    permissions = ["n0", f"r{guest.domid}", f"r{guest.world.read(path + '/backend-id')}"]
    guest.world.change_store(write=[(path, "", permissions), (f"{path}/state", "1", permissions)])
    assert vl2cap.run(guest, "refused", program="uses") == ("later\n", "")
    _, errors = vl2cap.run(guest, "info", "--wait", "0.3", status=3)
    assert "xenstore does not let this program write its state" in errors


class Relay:
    """A way to a guest's xenstore that can be cut."""

    def __init__(self, path: Path, to: str) -> None:
        self.ear = socket.socket(socket.AF_UNIX)
        self.ear.bind(str(path))
        self.ear.listen()
        self.store = socket.socket(socket.AF_UNIX)
        self.store.connect(to)
        Thread(target=self._relay, daemon=True).start()

    def _relay(self) -> None:
        self.program, _ = self.ear.accept()
        Thread(target=self._copy, args=(self.store, self.program), daemon=True).start()
        self._copy(self.program, self.store)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        while octets := source.recv(65536):
            target.sendall(octets)

    def cut(self) -> None:
        self.program.shutdown(socket.SHUT_RDWR)
        self.store.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in (self.program, self.store, self.ear):
            each.close()


def test_a_program_outlives_its_xenstore(guest: Domain, vl2cap: Vl2cap, tmp_path: Path) -> None:
    environment = guest.world.environment(guest.domid)
    relay = Relay(tmp_path / "store", environment["XENSTORED_PATH"])
    with subprocess.Popen(
        [vl2cap.directory / "lines"],
        env=os.environ | environment | {"XENSTORED_PATH": str(tmp_path / "store")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("ready\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith("ok")
        relay.cut()
        _, errors = process.communicate("info\nready\n", timeout=TIME_LIMIT_S)
    relay.close()
    assert (process.returncode, errors) == (0, "")


def test_too_many_open_files_are_not_taken_for_no_xen(guest: Domain, vl2cap: Vl2cap) -> None:
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 4; exec "$0" info', vl2cap.directory / "vl2cap"],
        env=os.environ | guest.world.environment(guest.domid),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIME_LIMIT_S,
    )
    reason = "the operating system's event channels, grants or xenstore fail"
    assert (done.returncode, done.stderr) == (3, f"vl2cap: device/vl2cap/0: {reason}\n")
