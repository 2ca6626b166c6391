"""A real systemd-journald of a test's own, with the project's catalog.

It runs in a user and a mount namespace, where /run and the catalog's directories are its own: this needs no root, and
touches nothing of the machine's journal.
"""

import socket
import subprocess
from pathlib import Path
from typing import Self

SETUP = """\
mount -t tmpfs tmpfs /run
mkdir -p /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\n' > /run/systemd/journald.conf.d/test.conf
mount --bind "$1" /usr/lib/systemd/catalog
mount -t tmpfs tmpfs /var/lib/systemd/catalog
journalctl --update-catalog
exec /lib/systemd/systemd-journald
"""
TIME_LIMIT_S = 60


class Journald:
    def __init__(self, directory: Path, catalog: Path) -> None:
        self._directory = directory
        self._catalog = catalog

    def __enter__(self) -> Self:
        catalogs = self._directory / "catalog"
        catalogs.mkdir()
        (catalogs / self._catalog.name).write_bytes(self._catalog.read_bytes())
        ready = self._directory / "journald-ready"
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", SETUP, "sh", str(catalogs)]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(TIME_LIMIT_S)
            manager.bind(str(ready))
            self._process = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(ready)})
            while b"READY=1" not in manager.recv(4096):
                pass
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(TIME_LIMIT_S) == 0

    def inside(self, *command: object) -> list[str]:
        """A command that runs where this journal is the machine's."""
        target = str(self._process.pid)
        return ["nsenter", "--user", "--mount", "--preserve-credentials", "--target", target, *map(str, command)]

    def read(self, *arguments: str) -> list[str]:
        """The lines of journalctl."""
        for command in (["--sync"], ["--quiet", "--no-pager", *arguments]):
            result = subprocess.run(
                self.inside("journalctl", *command), capture_output=True, text=True, timeout=TIME_LIMIT_S, check=True
            )
        return result.stdout.splitlines()
