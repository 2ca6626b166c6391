"""Hides addresses, names of guests and serial numbers in a dump, so that it can be shown to everybody."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from usbbtd.bluetooth import ADDRESS

#: The facts, settings and nodes of xenstore that hold names of guests.
_NAMED = frozenset(("name", "guest", "domain", "tags"))
#: The fact that has the names of a bond's guests, in a list.
_GUESTS = "guests"
#: Matches a dongle's vendor and product, with its serial number behind them.
_SERIAL = re.compile(r"\b([0-9a-f]{4}:[0-9a-f]{4}) (\S+)")
_NODE = re.compile(r'(?:^|/)(?P<node>[^/\s]+) = "(?P<value>[^"]*)"')


class Anonymizer:
    """Replaces each address, each name of a guest and each serial number by a stand-in, the same one everywhere.

    ``contents``: all that is going to be shown. Names are collected from the places that hold names, and then hidden
    everywhere.
    """

    def __init__(self, contents: Iterable[Any]) -> None:
        self._stand_ins: dict[str, dict[str, str]] = {}
        names = sorted({name for content in contents for name in _names(content) if name}, key=len, reverse=True)
        self._names = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)) if names else None

    def hide(self, content: Any) -> Any:
        """Returns the content with stand-ins."""
        if isinstance(content, str):
            return self._hide_text(content)
        if isinstance(content, dict):
            return {self._hide_text(key): self.hide(value) for key, value in content.items()}
        return [self.hide(each) for each in content] if isinstance(content, list) else content

    def _hide_text(self, text: str) -> str:
        text = ADDRESS.sub(lambda match: self._stand_in("address", match[0].upper()), text)
        text = _SERIAL.sub(lambda match: f"{match[1]} {self._stand_in('serial', match[2])}", text)
        if self._names is None:
            return text
        return self._names.sub(lambda match: self._stand_in("guest", match[0]), text)

    def _stand_in(self, kind: str, hidden: str) -> str:
        known = self._stand_ins.setdefault(kind, {})
        return known.setdefault(hidden, f"{kind}-{len(known) + 1}")


def _names(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            if key in _NAMED and isinstance(value, str):
                yield from value.split()
                yield value
            elif key == _GUESTS and isinstance(value, list):
                yield from (each for each in value if isinstance(each, str))
            else:
                yield from _names(value)
    elif isinstance(content, list):
        for each in content:
            yield from _names(each)
    elif isinstance(content, str):
        for match in _NODE.finditer(content):
            if match["node"] in _NAMED:
                yield match["value"]
