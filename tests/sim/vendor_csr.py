"""A copy of a CSR dongle: it lists commands that it never answers, and tells a version that is not its own. No I/O.

From what Linux's btusb says of copies: the commands that they are worst at are those of stored link keys, and the one
for the reporting of erroneous data, at which some stop for good.
"""

import struct

from tests.sim.vendor_realtek import OK, complete

RESET, READ_VERSION, READ_SUPPORTED = 0x0C03, 0x1001, 0x1002
READ_STORED_KEYS, WRITE_STORED_KEY, DELETE_STORED_KEYS, REPORT_ERRONEOUS = 0x0C0D, 0x0C11, 0x0C12, 0x0C5B
WRITE_SECURE_CONNECTIONS, SET_MIN_KEY_SIZE = 0x0C7A, 0x0C84
#: Those at which it stops.
DEADLY = (READ_STORED_KEYS, WRITE_STORED_KEY, DELETE_STORED_KEYS, REPORT_ERRONEOUS)


class CsrCopy:
    """The controller. ``silent``: opcodes that it lists and never answers. ``is_dead``: it was told what stops it."""

    def __init__(self, silent: tuple[int, ...] = (WRITE_SECURE_CONNECTIONS, SET_MIN_KEY_SIZE)) -> None:
        self.silent = silent
        self.is_dead = False

    def receive(self, command: bytes) -> list[bytes] | None:
        """The events that answer a command; None if it is one of those that every controller has."""
        opcode, _ = struct.unpack_from("<HB", command)
        self.is_dead |= opcode in DEADLY
        if self.is_dead or opcode in self.silent:
            return []
        if opcode == READ_VERSION:
            return [complete(opcode, struct.pack("<BBHBHH", OK, 9, 0x0810, 9, 0x000A, 0x2312))]
        if opcode == READ_SUPPORTED:
            return [complete(opcode, bytes((OK,)) + b"\xff" * 64)]
        return None
