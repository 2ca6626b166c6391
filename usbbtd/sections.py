"""Declares the tables of an administrator's files as frozen classes, and reads values into them, with every mistake.

``channels: int = key(integer(1, 4096), default=64)`` in a ``Section`` declares a key. A check returns the value that is
kept, or raises ValueError with what is wrong. A rule looks at what a check returned beside the keys before it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, Self, TypeVar, dataclass_transform

T = TypeVar("T")

#: The place of a value in a document: the keys that lead to it, and numbers for elements of arrays.
Key = tuple[str | int, ...]

Check = Callable[[object], T]
#: Gets the name of the key, its value, and the keys before it. Raises ValueError.
KeyRule = Callable[[str, Any, Mapping[str, Any]], None]

_REQUIRED: Final = object()
MISSING: Final = "is missing"
UNKNOWN: Final = "no such key"


class Mistake(NamedTuple):
    """Says what is wrong where."""

    key: Key
    what: str


class Mistakes(ValueError):
    """Says all that is wrong in a table or an array."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes


class DeclaredKey(NamedTuple):
    """A key of a section; ``default`` is kept as it is."""

    check: Check[Any]
    rules: tuple[KeyRule, ...]
    default: Any

    def read(self, name: str, value: object, before: Mapping[str, Any]) -> Any:
        """Returns the value that is kept. Raises ValueError."""
        kept = self.check(value)
        for rule in self.rules:
            rule(name, kept, before)
        return kept


def key(check: Check[Any], *rules: KeyRule, default: Any = _REQUIRED) -> Any:
    """Declares a key of a section, which may only be left out if it has a default."""
    return DeclaredKey(check, rules, default)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(key,))
class Section:
    """A table of a file: unknown keys are mistakes, and nothing is converted silently."""

    #: The keys by name: first those of the class that this one extends, then its own, as they are written down.
    keys: ClassVar[dict[str, DeclaredKey]] = {}

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, DeclaredKey)}
        for name in own:
            delattr(cls, name)
        cls.keys = cls.keys | own

    def __init__(self, **values: Any) -> None:
        if unknown := values.keys() - self.keys.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name, declared in self.keys.items():
            value = values.get(name, declared.default)
            if value is _REQUIRED:
                raise TypeError(f"{type(self).__name__} needs {name}")
            vars(self)[name] = value

    @classmethod
    def read(cls, content: object) -> Self:
        """Returns a section with this content, of a TOML file. Raises ValueError, and Mistakes for what is inside."""
        if not isinstance(content, dict):
            raise ValueError("should be a table")
        values: dict[str, Any] = {}
        mistakes: list[Mistake] = []
        for name, declared in cls.keys.items():
            if name not in content:
                values[name] = declared.default
                if declared.default is _REQUIRED:
                    del values[name]
                    mistakes.append(Mistake((name,), MISSING))
                continue
            try:
                values[name] = declared.read(name, content[name], values)
            except ValueError as error:
                mistakes += _placed(name, error)
        mistakes += (Mistake((name,), UNKNOWN) for name in content if name not in cls.keys)
        if mistakes:
            raise Mistakes(mistakes)
        return cls(**values)

    @classmethod
    def keys_beside(cls, place: Key) -> Iterator[str]:
        """Yields the keys of the table in which a place is."""
        section: type[Section] = cls
        for step in place[:-1]:
            if isinstance(step, str):
                check = section.keys[step].check
                assert isinstance(check, OneTable | ManyTables)  # nothing else has keys inside
                section = check.of
        yield from section.keys

    def dump(self) -> dict[str, Any]:
        """Returns the values by their keys; for a section among them, its values."""
        return {name: each.dump() if isinstance(each, Section) else each for name, each in vars(self).items()}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class OneTable:
    """Checks that a value is a table of this section."""

    def __init__(self, of: type[Section]) -> None:
        self.of = of

    def __call__(self, value: object) -> Section:
        return self.of.read(value)


class ManyTables:
    """Checks that a value is an array of tables of this section."""

    def __init__(self, of: type[Section]) -> None:
        self.of = of

    def __call__(self, value: object) -> list[Section]:
        if not isinstance(value, list):
            raise ValueError("should be a valid list")
        read: list[Section] = []
        mistakes: list[Mistake] = []
        for number, each in enumerate(value):
            try:
                read.append(self.of.read(each))
            except ValueError as error:
                mistakes += _placed(number, error)
        if mistakes:
            raise Mistakes(mistakes)
        return read


def integer(lowest: int, highest: int) -> Check[int]:
    """Returns a check for integers from ``lowest`` to ``highest``."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("should be a valid integer")
        return _within(value, lowest, highest)

    return check


def number(lowest: float, highest: float) -> Check[float]:
    """Returns a check for numbers from ``lowest`` to ``highest``, with a fraction or without."""

    def check(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError("should be a valid number")
        return float(_within(value, lowest, highest))

    return check


def choice(*values: str) -> Check[str]:
    """Returns a check for one of these texts."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in values:
            first, last = [repr(each) for each in values[:-1]], repr(values[-1])
            raise ValueError(f"should be {', '.join(first)} or {last}")
        return value

    return check


def text(check: Callable[[str], T]) -> Check[T]:
    """Returns a check for text that ``check`` takes."""

    def check_text(value: object) -> T:
        if not isinstance(value, str):
            raise ValueError("should be a valid string")
        return check(value)

    return check_text


def absolute_path(value: object) -> Path:
    """Checks that a value is an absolute path."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("not an absolute path")
    return Path(value)


def _within(value: T, lowest: Any, highest: Any) -> T:
    if not value >= lowest:
        raise ValueError(f"should be greater than or equal to {lowest}")
    if not value <= highest:
        raise ValueError(f"should be less than or equal to {highest}")
    return value


def _placed(step: str | int, error: ValueError) -> list[Mistake]:
    """Returns the mistakes of what is at ``step``, as its table or array tells them."""
    if not isinstance(error, Mistakes):
        return [Mistake((step,), str(error))]
    return [Mistake((step, *mistake.key), mistake.what) for mistake in error.mistakes]
