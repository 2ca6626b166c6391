"""What is said where there is nobody to ask."""

import os
import socket
import threading
from pathlib import Path

import pytest

from usbbtd.cli.ctl.client import Client, CommandFailed, NoDaemon


def test_a_socket_that_nobody_serves_any_more(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "control"))
    with pytest.raises(NoDaemon, match="usbbtd has ended: start it: 'systemctl start usbbtd'"):
        Client(str(tmp_path / "control"))


def test_what_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(NoDaemon, match=f"^{path}: this is no socket: see --socket"):
            Client(str(path))


def test_a_socket_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may everything: so the kernel's answer to others is made here."""

    def refuse(_socket: socket.socket, _path: str) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(NoDaemon, match="not permitted: be root, or join the group: 'usermod -aG usbbtd USER'"):
        Client("/run/usbbtd/control")


def test_a_service_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b'{"answer": {"number": 1}}\n')

        serving = threading.Thread(target=serve)
        serving.start()
        with Client(str(tmp_path / "control")) as client:
            answers = client.ask("links")
            assert next(answers) == {"number": 1}
            with pytest.raises(CommandFailed, match="usbbtd went away"):
                next(answers)
        serving.join()
