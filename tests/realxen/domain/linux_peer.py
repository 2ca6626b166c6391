"""In a domain whose kernel drives a dongle: a remote device with BlueZ, and its user, who confirms every number.

Speaks lines of JSON. ``address_type``: 0 BR/EDR, 1 public, 2 random, as in l2capif.h. ``security``: Linux's, 2 for an
encrypted link and 3 for one that is authenticated, too.

{"do": "listen", "address_type": n, "psm": n, "security": n}: {"listening": psm}; and for each channel, on which all is
    echoed, {"accepted": address, "security": n, "key_size": octets}
{"do": "call", "address": text, "address_type": n, "psm": n, "security": n, "lengths": [octets, ...]}: {"security": n,
    "key_size": octets, "echoed": SDUs that came back as they were sent}; or {"error": text}

Unasked: {"ready": true} when it can be paired with, and {"confirmed": the number of six digits} for each.
"""

import ctypes
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from typing import IO, Any

ANY, ANY_ADDRESS = 0, "00:00:00:00:00:00"
#: From Linux's include/net/bluetooth/{bluetooth,l2cap}.h.
SOL_BLUETOOTH, BT_SECURITY = 274, 4
_security = struct.Struct("BB")  # level, octets of the key
_sockaddr = struct.Struct("<HH6sHB")  # struct sockaddr_l2; Python's own addresses have no type
_PATIENCE_S = 60

_libc = ctypes.CDLL(None, use_errno=True)


class User:
    """Who sits before bluetoothctl. What it prints is for terminals: prompts do not end with a line."""

    def __init__(self) -> None:
        command = ["bluetoothctl", "--agent", "DisplayYesNo"]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._printed = b""
        self._wait(rb"Agent registered")
        self._say("default-agent", rb"Default agent request successful")
        self._say("discoverable on", rb"Changing discoverable on succeeded")
        self._say("advertise on", rb"Advertising object registered")
        threading.Thread(target=self._confirm, daemon=True).start()

    def _say(self, line: str, awaited: bytes) -> None:
        _stream(self._program.stdin).write(line.encode() + b"\n")
        self._wait(awaited)

    def _wait(self, awaited: bytes) -> re.Match[bytes]:
        """Until it has printed this, of which nothing is looked at again."""
        while (found := re.search(awaited, self._printed)) is None:
            if not (printed := _stream(self._program.stdout).read(4096)):
                raise RuntimeError(f"bluetoothctl ended, and had printed {self._printed!r}")
            sys.stderr.write(printed.decode(errors="replace"))
            self._printed += printed
        self._printed = self._printed[found.end() :]
        return found

    def _confirm(self) -> None:
        while True:
            number = self._wait(rb"Confirm passkey (\d{6}) \(yes/no\): ")[1]
            _stream(self._program.stdin).write(b"yes\n")
            tell(confirmed=int(number))
            self._wait(rb"\n")  # it prints the prompt again and again until then


class Channel:
    """An L2CAP socket of Linux's. ``address_type``: as above, which are those of Linux, too."""

    def __init__(self, address_type: int, psm: int, security: int) -> None:
        self.socket = socket.socket(socket.AF_BLUETOOTH, socket.SOCK_SEQPACKET, socket.BTPROTO_L2CAP)
        self.socket.setsockopt(SOL_BLUETOOTH, BT_SECURITY, _security.pack(security, 0))
        self._own_type = min(address_type, 1)  # the domain's own address is public
        self._call("bind", ANY_ADDRESS, self._own_type, psm)

    def connect(self, address: str, address_type: int, psm: int) -> None:
        self.socket.settimeout(None)
        self._call("connect", address, address_type, psm)
        self.socket.settimeout(_PATIENCE_S)

    def _call(self, function: str, address: str, address_type: int, psm: int) -> None:
        octets = bytes.fromhex(address.replace(":", ""))[::-1]
        argument = _sockaddr.pack(socket.AF_BLUETOOTH, psm, octets, 0, address_type) + bytes(1)
        if getattr(_libc, function)(self.socket.fileno(), argument, len(argument)):
            number = ctypes.get_errno()
            raise OSError(number, f"{function}: {os.strerror(number)}")


def security_of(channel: socket.socket) -> dict[str, int]:
    level, key_size = _security.unpack(channel.getsockopt(SOL_BLUETOOTH, BT_SECURITY, _security.size))
    return {"security": level, "key_size": key_size}


def listen(address_type: int, psm: int, security: int) -> None:
    listening = Channel(address_type, psm, security).socket
    listening.listen(1)
    threading.Thread(target=_accept, args=(listening,), daemon=True).start()
    tell(listening=psm)


def _accept(listening: socket.socket) -> None:
    while True:
        channel, (address, _) = listening.accept()
        tell(accepted=address, **security_of(channel))
        with channel:
            while sdu := channel.recv(65535):
                channel.send(sdu)


def call(address: str, address_type: int, psm: int, security: int, lengths: list[int]) -> None:
    channel = Channel(address_type, 0, security)
    channel.connect(address, address_type, psm)
    with channel.socket as connected:
        echoed = 0
        for length in lengths:
            sdu = os.urandom(length)
            connected.send(sdu)
            echoed += connected.recv(65535) == sdu
        tell(**security_of(connected), echoed=echoed)


def tell(**report: object) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def main() -> None:
    User()
    tell(ready=True)
    does: dict[str, Any] = {"listen": listen, "call": call}
    for line in sys.stdin:
        command = json.loads(line)
        try:
            does[command.pop("do")](**command)
        except OSError as error:
            tell(error=str(error))


if __name__ == "__main__":
    main()
