"""In a domain whose kernel drives a dongle: asks Linux's own Bluetooth stack. Prints a line of JSON.

linux_bluetooth.py up                           hci0 as it is when it is switched on
linux_bluetooth.py echo ADDRESS PSM LENGTH...   sends SDUs of these lengths, and counts those that come back unchanged
"""

import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Callable

#: From Linux's include/net/bluetooth/hci_sock.h.
HCIDEVUP, HCIGETDEVINFO = 0x400448C9, 0x800448D3
DEVICE_INFO = struct.Struct("=H8s6sIB8s3xIIIHHHH40s")
UP = 1 << 0


def up() -> dict[str, object]:
    with socket.socket(socket.AF_BLUETOOTH, socket.SOCK_RAW, socket.BTPROTO_HCI) as hci:
        with contextlib.suppress(BlockingIOError):  # it is on: the kernel does that once by itself
            fcntl.ioctl(hci, HCIDEVUP, 0)
        information = fcntl.ioctl(hci, HCIGETDEVINFO, bytes(DEVICE_INFO.size))
    _, name, address, flags, *_, acl_size, acl_count, _, _, _ = DEVICE_INFO.unpack(information)
    return {
        "name": name.rstrip(b"\0").decode(), "address": address[::-1].hex(":").upper(), "up": bool(flags & UP),
        "acl": [acl_size, acl_count],
    }  # fmt: skip


def echo(address: str, psm: str, *lengths: str) -> dict[str, object]:
    echoed = 0
    with socket.socket(socket.AF_BLUETOOTH, socket.SOCK_SEQPACKET, socket.BTPROTO_L2CAP) as channel:
        channel.settimeout(60)
        channel.connect((address, int(psm, 0)))
        for length in map(int, lengths):
            sdu = os.urandom(length)
            channel.send(sdu)
            echoed += channel.recv(65535) == sdu
    return {"echoed": echoed}


COMMANDS: dict[str, Callable[..., dict[str, object]]] = {"up": up, "echo": echo}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])) + "\n")
