"""A controller of Realtek's that needs its firmware: what it has in ROM, and what it takes. No I/O.

From the facts that Linux's btrtl has: pieces of 252 octets, numbered 0 to 127, then 1 to 127 again and again, the last
one with the bit 0x80. A wrong piece is refused, and what follows too.
"""

import struct

PIECE = 252
COMPANY = 0x005D
RESET, READ_VERSION, READ_ROM, DOWNLOAD, READ_REGISTER = 0x0C03, 0x1001, 0xFC6D, 0xFC20, 0xFC61
KEY_REGISTER = bytes.fromhex("10a4ad00b0")
EXTENSION = bytes.fromhex("5104fd77")
OK, UNKNOWN_COMMAND, INVALID = 0x00, 0x01, 0x12


def complete(opcode: int, returned: bytes, allowed: int = 1) -> bytes:
    """A Command Complete event."""
    return bytes((0x0E, 3 + len(returned), allowed)) + opcode.to_bytes(2, "little") + returned


def first_form(patches: dict[int, bytes], *, version: int = 0x1234_5678, project: int = 14) -> bytes:
    """A file "epatch": ``patches`` by ROM version."""
    count = len(patches)
    at = 14 + 8 * count
    offsets, body = [], b""
    for patch in patches.values():
        offsets.append(at + len(body))
        body += patch
    chips = struct.pack(f"<{count}H", *(rom + 1 for rom in patches))
    lengths = struct.pack(f"<{count}H", *map(len, patches.values()))
    tables = chips + lengths + struct.pack(f"<{count}I", *offsets)
    return b"Realtech" + struct.pack("<IH", version, count) + tables + body + bytes((project, 1, 0)) + EXTENSION


def second_form(sections: list[tuple[int, list[tuple[int, int, int, bytes]]]], *, project: int = 51) -> bytes:
    """A file "epatch" of the second form: sections of a kind, each with parts (ROM version, priority, key, data)."""
    made = b""
    for kind, parts in sections:
        body = struct.pack("<HH", len(parts), 0) + b"".join(
            struct.pack("<BBBBI", rom + 1, priority, key, 0, len(data)) + data for rom, priority, key, data in parts
        )
        made += struct.pack("<II", kind, len(body)) + body
    return b"RTBTCore" + bytes(8) + struct.pack("<I", len(sections)) + made + bytes((project, 1, 0)) + EXTENSION


class RealtekController:
    """The controller. ``wanted``: what it is to be given, octet by octet; its firmware runs when it has it all.

    ``rom``: LMP subversion; ``hci``: (subversion, version); ``key``: that of its register.
    """

    def __init__(
        self,
        wanted: bytes,
        *,
        rom: int = 0x8761,
        hci: tuple[int, int] = (0x0B, 0x0A),
        rom_version: int = 1,
        key: int = 0,
    ) -> None:
        self.wanted = wanted
        self.key = key
        self.takes_padding = False  # whether zeros may fill up the last piece, as Bumble has it
        self.silent: set[int] = set()  # opcodes that are never answered
        self.refused: set[int] = set()
        self.runs_firmware = False
        self.commands: list[int] = []
        self._rom, self._hci, self._rom_version = rom, hci, rom_version
        self._got = b""
        self._pieces = 0

    def receive(self, command: bytes) -> list[bytes] | None:
        """The events that answer a command; None if it is one of those that every controller has."""
        opcode, length = struct.unpack_from("<HB", command)
        assert length == len(command) - 3
        self.commands.append(opcode)
        parameters = command[3:]
        if opcode in self.silent:
            return []
        if opcode in self.refused:
            return [complete(opcode, bytes((UNKNOWN_COMMAND,)))]
        match opcode:
            case 0x1001:
                return [complete(opcode, self._version())]
            case 0xFC6D:
                return [complete(opcode, bytes((OK, self._rom_version)))]
            case 0xFC61:
                assert parameters == KEY_REGISTER
                return [complete(opcode, struct.pack("<BH", OK, self.key))]
            case 0xFC20:
                status = OK if self._take(parameters[0], parameters[1:]) else INVALID
                return [complete(opcode, bytes((status, parameters[0])))]
        return None

    def _version(self) -> bytes:
        subversion, version = self._hci
        if self.runs_firmware:
            return struct.pack("<BBHBHH", OK, version, 0xDFC6, version, COMPANY, 0xD922)
        return struct.pack("<BBHBHH", OK, version, subversion, version, COMPANY, self._rom)

    def _take(self, index: int, piece: bytes) -> bool:
        number = self._pieces if self._pieces < 128 else (self._pieces - 128) % 127 + 1
        if self.runs_firmware or index & 0x7F != number or len(piece) > PIECE:
            return False
        self._pieces += 1
        self._got += piece
        if index & 0x80:
            if self.takes_padding:
                self._got = self._got[: len(self.wanted)] + self._got[len(self.wanted) :].lstrip(b"\0")
            self.runs_firmware = self._got == self.wanted
            return self.runs_firmware
        return len(piece) == PIECE and self.wanted.startswith(self._got)
