"""Sends entries to systemd-journald by its native protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/

libsystemd's sd_journal_sendv waits until journald has read what others have sent; this module never waits.
"""

import socket

SOCKET = "/run/systemd/journal/socket"


def send(message: str, /, **fields: str) -> None:
    """Sends one entry: ``message``, and fields by their names in the journal.

    Raises OSError if journald does not take it at once: BlockingIOError if it has too much to read already.
    """
    entry = b"".join(_field(name.encode(), value) for name, value in {"MESSAGE": message, **fields}.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(entry, socket.MSG_DONTWAIT, SOCKET)


def _field(name: bytes, value: str) -> bytes:
    octets = value.encode(errors="backslashreplace")
    if b"\n" in octets:
        return b"%b\n%b%b\n" % (name, len(octets).to_bytes(8, "little"), octets)
    return b"%b=%b\n" % (name, octets)
