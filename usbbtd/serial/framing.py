"""Frames on a line of octets, as docs/serial.md has them: HDLC's flags and stuffing, and its 32-bit FCS (RFC 1662)."""

from zlib import crc32

from usbbtd.serial.wire import HEADER_SIZE, MAX_PAYLOAD

_FLAG, _ESCAPE = b"\x7e", b"\x7d"
_XON_XOFF = b"\x11\x13"
_FCS_SIZE = 4
_SHORTEST, _LONGEST = HEADER_SIZE + _FCS_SIZE, HEADER_SIZE + MAX_PAYLOAD + _FCS_SIZE
_MOST_PENDING = 4 * _LONGEST  # stuffed octets, and as many of XON and XOFF, while no flag comes


def encode(content: bytes) -> bytes:
    """Returns the octets of a frame on the line."""
    octets = content + crc32(content).to_bytes(_FCS_SIZE, "little")
    octets = octets.replace(_ESCAPE, b"\x7d\x5d").replace(_FLAG, b"\x7d\x5e")
    return _FLAG + octets.replace(b"\x11", b"\x7d\x31").replace(b"\x13", b"\x7d\x33") + _FLAG


def decode(untrusted_octets: bytes) -> bytes | None:
    """Returns the content of what is between two flags; None if it is no frame that came whole."""
    first, *others = untrusted_octets.translate(None, _XON_XOFF).split(_ESCAPE)
    if not all(others):
        return None  # an escape at the end, or two in a row
    octets = first + b"".join(bytes((part[0] ^ 0x20,)) + part[1:] for part in others)
    content, fcs = octets[:-_FCS_SIZE], octets[-_FCS_SIZE:]
    if not _SHORTEST <= len(octets) <= _LONGEST or crc32(content) != int.from_bytes(fcs, "little"):
        return None
    return content


class Deframer:
    """Finds frames in the octets of a line. ``dropped``: how often something between two flags was no frame."""

    def __init__(self) -> None:
        self.dropped = 0
        self._pending = b""
        self._overlong = False  # dropped until the next flag

    def receive(self, untrusted_octets: bytes) -> list[bytes]:
        """Takes octets of the line, and returns the contents of the frames that are complete."""
        *ended, self._pending = (self._pending + untrusted_octets).split(_FLAG)
        if ended and self._overlong:
            self._overlong, ended = False, ended[1:]
        contents = []
        for octets in filter(None, ended):
            if (content := decode(octets)) is None:
                self.dropped += 1
            else:
                contents.append(content)
        if len(self._pending) > _MOST_PENDING or self._overlong:
            self.dropped += not self._overlong
            self._pending, self._overlong = b"", True
        return contents
