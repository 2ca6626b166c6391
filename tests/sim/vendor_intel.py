"""A controller of Intel's with a bootloader, which takes only what is signed, and starts it. No I/O.

From the facts that Linux's btintel and btusb have. The signature stands for a real one: the digest of what it signs.
"""

import hashlib
import struct
from collections.abc import Iterable

from tests.sim.vendor_realtek import OK, UNKNOWN_COMMAND, complete

PIECE = 252
RESET, INTEL_RESET, READ_VERSION, SECURE_SEND, READ_BOOT, CONFIGURE = 0x0C03, 0xFC01, 0xFC05, 0xFC09, 0xFC0D, 0xFC8B
WRITE_BOOT_PARAMETERS, NOP = 0xFC0E, 0xFC02
BOOT_ADDRESS = 0x0002_4800
HEADER, DATA, SIGNATURE, KEY = range(4)
RSA, ECDSA = 0, 1
KEY_SIZE = {RSA: 256, ECDSA: 96}


def command(opcode: int, parameters: bytes) -> bytes:
    return struct.pack("<HB", opcode, len(parameters)) + parameters


def payload(size: int, boot_address: int = BOOT_ADDRESS) -> bytes:
    """Commands of ``size`` octets or a few more, the first of which says where the firmware begins."""
    made = command(WRITE_BOOT_PARAMETERS, struct.pack("<IBBB", boot_address, 1, 2, 23))
    number = 0
    while len(made) < size:
        made += command(0xFC8E, bytes((number % 256,)) * (number % 200))
        number += 1
    return made + command(NOP, bytes(-(len(made) + 3) % 4))


def _signed(engine: int, content: bytes, version: int) -> tuple[bytes, bytes, bytes]:
    header = struct.pack("<II", 6, 0) + struct.pack("<I", version) + hashlib.sha256(b"%d" % engine + content).digest()
    key = bytes((engine + 1,)) * KEY_SIZE[engine]
    header += bytes(128 - len(header))
    return header, key, (hashlib.sha512(header + key + content).digest() * 4)[: KEY_SIZE[engine]]


def sfi(content: bytes, *, both: bool = True) -> bytes:
    """A file with firmware: headers, keys and signatures of RSA, and of ECDSA with ``both``, then ``content``."""
    header, key, signature = _signed(RSA, content, 0x0001_0000)
    made = header + key + bytes(4) + signature
    if both:
        made += b"".join(_signed(ECDSA, content, 0x0002_0000))
    return made + content


class IntelController:
    """The controller. ``wanted``: the commands that it is to be given, for which it has a signature.

    ``older``: it tells its version in the older form. ``leaves``: it leaves the bus when it starts its firmware, as
    ``has_left`` tells, instead of an event. ``on_bulk``: whether the last command's answer comes on the data endpoint.
    """

    def __init__(
        self, wanted: bytes, *, engine: int = ECDSA, older: bool = False, variant: int = 0x17, leaves: bool = False
    ) -> None:
        self.wanted = wanted
        self.engine = engine
        self.older = older
        self.variant = variant
        self.leaves = leaves
        self.has_left = False
        self.mode = "bootloader"
        self.sbe = engine
        self.gives_credit = True  # some give none for the first command
        self.unanswered = 0  # whether it does not answer each piece
        self.configured: list[bytes] = []
        self.commands: list[int] = []
        self.silent: set[int] = set()
        self.forgets: set[int] = set()  # kinds of events that never come
        self._sections: dict[int, bytes] = {}

    def receive(self, command: bytes, *, bulk: bool | None = None) -> list[bytes] | None:
        """The events that answer a command; None if it is one of those that every controller has.

        ``bulk``: whether it has come on the data endpoint; None: it is not known.
        """
        opcode, length = struct.unpack_from("<HB", command)
        assert length == len(command) - 3
        self.commands.append(opcode)
        parameters = command[3:]
        if opcode in self.silent:
            return []
        if bulk is not None:
            assert bulk == (opcode == SECURE_SEND)  # Linux: "needs to be sent down the bulk endpoint"
        match opcode:
            case 0xFC05:
                return [complete(opcode, self._version(parameters), allowed=self.gives_credit)]
            case 0xFC01:
                return self._start(parameters)
            case 0xFC8B:
                assert parameters[0] == len(parameters) - 1
                self.configured.append(parameters[1:])
                return [complete(opcode, bytes((OK,)) + parameters[1:3])]
            case 0xFC0D if self.mode == "bootloader":
                return [complete(opcode, self._boot_parameters())]
            case 0xFC09 if self.mode == "bootloader":
                return self._take(parameters[0], parameters[1:])
        return [complete(opcode, bytes((UNKNOWN_COMMAND,)))] if self.mode == "bootloader" else None

    def _version(self, parameters: bytes) -> bytes:
        assert parameters == b"\xff"
        if self.older:
            firmware = 0x06 if self.mode == "bootloader" else 0x23
            return bytes((OK, 0x37, self.variant, 0x10, firmware, 0x30, 1, 2, 19, 0))
        image = 1 if self.mode == "bootloader" else 3
        return bytes((OK,)) + self.facts(
            (0x10, (0x0200_0900).to_bytes(4, "little")),
            (0x11, (0x0100_0501).to_bytes(4, "little")),
            (0x12, struct.pack("<I", self.variant << 16 | 0x3700)),
            (0x1C, bytes((image,))),
            (0x2E, bytes((self.unanswered,))),
            (0x2F, bytes((self.sbe,))),
            (0x30, bytes(6)),
        )

    @staticmethod
    def facts(*facts: tuple[int, bytes]) -> bytes:
        return b"".join(bytes((kind, len(value))) + value for kind, value in facts)

    @property
    def base(self) -> str:
        """The name of its files without ending, as Linux makes it."""
        return "intel/ibt-18-16-48" if self.older else "intel/ibt-0290-1150"

    def _boot_parameters(self) -> bytes:
        return struct.pack(
            "<BBBBHBBBBBB6sBBBBB", OK, 0, 0, 0, 5, 1, 0, 0, 0, 0, 0, bytes(6), 1, 1, 14, self.unanswered, 0
        )

    def _take(self, section: int, piece: bytes) -> list[bytes]:
        order = [HEADER, KEY, SIGNATURE, DATA]
        assert len(piece) <= PIECE
        assert not any(other in self._sections for other in order[order.index(section) + 1 :])
        if section == DATA:
            assert len(piece) % 4 == 0
        self._sections[section] = self._sections.get(section, b"") + piece
        answer = complete(SECURE_SEND, bytes((OK,)))
        if section != DATA or len(self._sections[DATA]) < len(self.wanted):
            return [answer]
        whole = {s: self._sections.get(s, b"") for s in order}
        version = 0x0001_0000 if self.engine == RSA else 0x0002_0000
        header, key, signature = _signed(self.engine, self.wanted, version)
        accepted = whole == {HEADER: header, KEY: key, SIGNATURE: signature, DATA: self.wanted}
        self.mode = "loaded" if accepted else "failed"
        said = self._event(0x06, struct.pack("<BHB", 0 if accepted else 1, SECURE_SEND, 0))
        if not accepted:
            self.mode, self._sections = "bootloader", {}
        return [*said, answer]  # the event may overtake the answer

    def _start(self, parameters: bytes) -> list[bytes]:
        assert parameters == struct.pack("<BBBBI", 0, 1, 0, 1, BOOT_ADDRESS)
        assert self.mode == "loaded"
        self.mode = "firmware"
        if self.leaves:
            self.has_left = True
            return []
        return self._event(0x02, bytes(5))

    def _event(self, kind: int, data: bytes) -> list[bytes]:
        return [] if kind in self.forgets else [bytes((0xFF, len(data) + 1, kind)) + data]


def configuration(records: Iterable[bytes]) -> bytes:
    """A file of configuration."""
    return b"".join(bytes((len(record),)) + record for record in records)
