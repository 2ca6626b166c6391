"""Makes frozen classes with slots, as ``dataclass(frozen=True, slots=True)`` does, but without compiling functions.

A dataclass compiles its functions at import, in 2 ms a class: for all kinds of packets that took longer than all other
modules of ours together.
"""

from typing import Any, ClassVar, NoReturn, TypeVar, cast

_set = object.__setattr__


class Frozen:
    """The base of classes that ``frozen`` makes. Two objects are equal if their classes and fields are."""

    __slots__ = ()
    #: The names of the fields.
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *values: Any, **named: Any) -> None:
        names = self.__match_args__
        if named:
            values += tuple(named.pop(name) for name in names[len(values) :] if name in named)
        if named or len(values) != len(names):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(names)}")
        for name, value in zip(names, values, strict=True):
            _set(self, name, value)

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


F = TypeVar("F", bound=Frozen)


def frozen(cls: type[F]) -> type[F]:
    """Returns the class with its annotated names as fields. Is called by decorators that tell type checkers of them."""
    names = tuple(cls.__annotations__)
    content = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    made = type(cls.__name__, cls.__bases__, content | {"__slots__": names, "__match_args__": names})
    return cast("type[F]", made)
