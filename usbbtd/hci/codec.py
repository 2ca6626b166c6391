"""Control packets: a layout is written once, as a frozen class with a code and a format; parse and pack follow."""

import struct
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from usbbtd.errors import RemoteProtocolError
from usbbtd.frozen import Frozen, frozen

__all__ = ["Packet", "packet"]


class Packet(Frozen):
    """Parameters of a command or event. Each direct subclass is a family with a registry of its own, by code."""

    __slots__ = ()
    CODE: ClassVar[int]
    LAYOUT: ClassVar[struct.Struct]
    HAS_TAIL: ClassVar[bool]
    registry: ClassVar[dict[int, type[Any]]]

    def __init_subclass__(cls) -> None:
        if Packet in cls.__bases__:
            cls.registry = {}

    @classmethod
    def parse(cls, untrusted: bytes) -> Self:
        """From the octets of all parameters; what follows the known ones is left alone: later versions add some.

        RemoteProtocolError: some are missing.
        """
        make: Callable[..., Self] = cls
        try:
            values = cls.LAYOUT.unpack_from(untrusted)
        except struct.error:
            raise RemoteProtocolError(f"{cls.__name__} is cut short: {len(untrusted)} octets") from None
        return make(*values, untrusted[cls.LAYOUT.size :]) if cls.HAS_TAIL else make(*values)

    def parameters(self) -> bytes:
        values = self.field_values()
        return self.LAYOUT.pack(*values[:-1]) + values[-1] if self.HAS_TAIL else self.LAYOUT.pack(*values)


P = TypeVar("P", bound=Packet)


@dataclass_transform(frozen_default=True)
def packet(code: int, layout: str = "") -> Callable[[type[P]], type[P]]:
    """Makes a class frozen, with slots, known in its family's registry under ``code``.

    ``layout`` is a struct format, little-endian, with one item for each field; a last ``*`` stands for a field that
    takes all octets that are left.
    """

    def decorate(cls: type[P]) -> type[P]:
        made = frozen(cls)
        made.CODE = code
        made.LAYOUT = struct.Struct("<" + layout.removesuffix("*"))
        made.HAS_TAIL = layout.endswith("*")
        if len(made.__match_args__) != len(made.LAYOUT.unpack(bytes(made.LAYOUT.size))) + made.HAS_TAIL:
            raise TypeError(f"the fields of {cls.__name__} do not fit {layout!r}")
        made.registry[code] = made
        return made

    return decorate
