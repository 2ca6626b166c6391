"""Control packets of HCI and L2CAP: each is declared once, as a class with a code and a layout; parse and pack follow.

A packet is frozen and has slots, as ``dataclass(frozen=True, slots=True)`` makes it, but without compiling functions. A
dataclass compiles its functions at import, in 2 ms a class: for all kinds of packets that took longer than all other
modules of ours together.
"""

import struct
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Self, TypeVar, cast, dataclass_transform

from usbbtd.errors import RemoteProtocolError

__all__ = ["Packet", "Secret", "packet"]

_set = object.__setattr__


class Packet:
    """The base of all packets. Two packets are equal if their classes and fields are.

    A direct subclass is a family. It has a ``registry`` of its own, by code, and says how its packets are framed.
    """

    __slots__ = ()
    #: The names of the fields.
    __match_args__: ClassVar[tuple[str, ...]] = ()
    CODE: ClassVar[int]
    LAYOUT: ClassVar[struct.Struct]
    #: Whether the last field is ``bytes`` and takes what follows the others.
    HAS_TAIL: ClassVar[bool]
    #: Whether octets after the known fields are an error. In other families they are what a later version has added.
    EXACT: ClassVar[bool] = False
    registry: ClassVar[dict[int, type[Any]]]

    def __init__(self, *values: Any, **named: Any) -> None:
        names = self.__match_args__
        if named:
            values += tuple(named.pop(name) for name in names[len(values) :] if name in named)
        if named or len(values) != len(names):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(names)}")
        for name, value in zip(names, values, strict=True):
            _set(self, name, value)

    @classmethod
    def parse(cls, untrusted: bytes) -> Self:
        """Makes a packet of the octets of its fields. Raises RemoteProtocolError for a wrong number of them."""
        layout = cls.LAYOUT
        try:
            values = layout.unpack_from(untrusted)
        except struct.error:
            raise RemoteProtocolError(f"{cls.__name__} is cut short: {len(untrusted)} octets") from None
        if cls.HAS_TAIL:
            return cls(*values, untrusted[layout.size :])
        if cls.EXACT and len(untrusted) > layout.size:
            raise RemoteProtocolError(f"{cls.__name__} is too long: {len(untrusted)} octets")
        return cls(*values)

    def parameters(self) -> bytes:
        """Returns the octets of the fields, which a family puts its header in front of."""
        values = [getattr(self, name) for name in self.__match_args__]
        tail: bytes = values.pop() if self.HAS_TAIL else b""
        return self.LAYOUT.pack(*values) + tail

    def field_values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__match_args__])

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.field_values() == other.field_values()

    def __hash__(self) -> int:
        return hash((type(self), self.field_values()))

    def __repr__(self) -> str:
        fields = zip(self.__match_args__, self.field_values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in fields)})"


class Secret:
    """A mixin for packets that carry keys, which their representations must not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


P = TypeVar("P", bound=Packet)


@dataclass_transform(frozen_default=True)
def packet(code: int, layout: str = "") -> Callable[[type[P]], type[P]]:
    """Makes a class a packet: its annotated names are the fields, and its family's registry knows it by ``code``.

    ``layout`` is a struct format, little-endian, with one item for each field; a last ``*`` stands for a field that
    takes all octets that are left. Raises TypeError if fields and layout do not fit.
    """

    def decorate(cls: type[P]) -> type[P]:
        names = tuple(cls.__annotations__)
        content = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
        made = cast(
            "type[P]", type(cls.__name__, cls.__bases__, content | {"__slots__": names, "__match_args__": names})
        )
        made.CODE = code
        made.LAYOUT = struct.Struct("<" + layout.removesuffix("*"))
        made.HAS_TAIL = layout.endswith("*")
        if len(names) != len(made.LAYOUT.unpack(bytes(made.LAYOUT.size))) + made.HAS_TAIL:
            raise TypeError(f"the fields of {cls.__name__} do not fit {layout!r}")
        made.registry[code] = made
        return made

    return decorate
