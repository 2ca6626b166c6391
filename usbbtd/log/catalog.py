"""Makes the journal's catalog and the page of docs from the table of events.

``python -m usbbtd.log.catalog catalog`` prints the one, ``page`` the other.
"""

import sys
import textwrap
from collections.abc import Iterator

from usbbtd.log.events import EVENTS, LogEvent
from usbbtd.log.fields import field_of

_WIDTH = 79
_HEAD = """\
# Events

What the log says, what it means and what to do. This page and the journal's catalog, `systemd/usbbtd.catalog`, are
made by `make catalog` from `usbbtd/log/events.py`: do not edit them.

- `journalctl -x -u usbbtd` explains each event below it. `journalctl -u usbbtd -o verbose` shows the fields.
- `journalctl XEN_DOMID=7` is all that concerns guest 7, `journalctl USBBTD_EVENT="channel open"` all events of a kind;
  `MESSAGE_ID` names a kind for ever, whatever becomes of its words.
- Fields in brackets only some events have. *Statistics* are counters, each a field, as `USBBTD_REQUESTS`.
- Events marked † can be caused by a guest, a peer or a USB backend as often as it likes. When one of them comes more
  than 20 times at once, and then more than once a second, for one guest, it is dropped and counted, and
  "events suppressed" tells the count as soon as it may be logged again. Nothing else is ever dropped, and no error.
- With `log.addresses = "hashed"` each address in a field or a text is 12 hexadecimal digits instead: the same for the
  same address, and nobody can compute the address from them who does not have the key.
"""


def make_catalog() -> str:
    """Returns the file that journalctl --update-catalog reads, in the form of systemd.catalog(5)."""
    return "\n".join(_entry(program, event) for program, events in EVENTS.items() for event in events)


def make_page() -> str:
    """Returns docs/events.md."""
    return _HEAD + "".join(f"\n## {program}\n\n{_table(events)}" for program, events in EVENTS.items())


def _entry(program: str, event: LogEvent) -> str:
    named = {fact: f"@{field_of(fact)}@" for fact in event.facts.split()}
    paragraphs = (textwrap.fill(text.format(**named), _WIDTH) for text in (event.explanation, event.remedy))
    return (
        f"-- {event.message_id}\n"
        f"Subject: {event.phrase}\n"
        f"Defined-By: {program}\n"
        f"Support: file:///usr/share/doc/usbbtd/troubleshooting.md\n"
        f"Documentation: man:{program}(8)\n"
        "\n" + "\n\n".join(paragraphs) + "\n"
    )


def _table(events: tuple[LogEvent, ...]) -> str:
    head = "| event | level | fields | it means | what to do | MESSAGE_ID |\n|---|---|---|---|---|---|\n"
    return head + "".join(f"| {' | '.join(_cells(event))} |\n" for event in events)


def _cells(event: LogEvent) -> Iterator[str]:
    named = {fact: f"`{field_of(fact)}`" for fact in event.facts.split()}
    yield event.phrase + " †" * event.limited
    yield event.level
    yield " ".join(map(_field, event.facts.split()))
    yield event.explanation.format(**named)
    yield event.remedy.format(**named)
    yield f"`{event.message_id}`"


def _field(fact: str) -> str:
    if fact.startswith("("):
        inner = fact.strip("()")
        return "(*statistics*)" if inner == "statistics" else f"(`{field_of(inner)}`)"
    return f"`{field_of(fact)}`"


if __name__ == "__main__":
    sys.stdout.write({"catalog": make_catalog, "page": make_page}[sys.argv[1]]())
