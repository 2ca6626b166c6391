"""Draws a frame of usbbtctl top, from two samples of the service's answers, as lines of a given width."""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from usbbtd.cli.ctl.client import Client
from usbbtd.cli.ctl.output import IDLE, Row, duration, guest_state, hexadecimal, number_of_bytes, printable

BOLD, DIM, REVERSE, GREEN, YELLOW, RED, CYAN = "1", "2", "7", "32", "33", "31", "36"

_BLOCKS = " ▁▂▃▄▅▆▇█"
#: How many of the latest samples the history has.
HISTORY = 40
_STATE_COLOURS = {
    "Connected": GREEN,
    "open": GREEN,
    "up": GREEN,
    "opening": YELLOW,
    "ended": RED,
    "Closed": RED,
    IDLE: DIM,
}


class Span(NamedTuple):
    """A piece of text. ``style``: its SGR parameters, "" for none."""

    text: str
    style: str = ""


Line = list[Span]


class Sample(NamedTuple):
    """The service's answers at one time, in seconds of the monotonic clock."""

    at: float
    status: Row
    guests: list[Row]
    channels: list[Row]


def take_sample(client: Client) -> Sample:
    status = client.ask_one("status")
    return Sample(time.monotonic(), status, list(client.ask("guests")), list(client.ask("channels")))


class Rates(NamedTuple):
    """SDUs and bytes a second, to guests and from them."""

    sdus_to: float
    bytes_to: float
    sdus_from: float
    bytes_from: float

    @property
    def bytes_both(self) -> float:
        return self.bytes_to + self.bytes_from


_NO_RATES = Rates(0, 0, 0, 0)
_COUNTERS = ("sdus_to_guest", "bytes_to_guest", "sdus_from_guest", "bytes_from_guest")


class View:
    """The frame after each sample: its figures are the differences to the sample before."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._guests: dict[tuple[int, ...], Rates] = {}
        self._channels: dict[tuple[int, ...], Rates] = {}
        self._cpu = 0.0
        self._history: list[Rates] = []

    def advance(self, sample: Sample) -> None:
        """Takes the next sample."""
        before, self._sample = self._sample, sample
        seconds = max(sample.at - before.at, 1e-3)
        self._guests = _all_rates(before.guests, sample.guests, ("domid", "devid"), seconds)
        self._channels = _all_rates(before.channels, sample.channels, ("domid", "devid", "object"), seconds)
        self._cpu = 100 * max(sample.status["cpu_s"] - before.status["cpu_s"], 0) / seconds
        self._history = [*self._history, Rates(*map(sum, zip(_NO_RATES, *self._guests.values(), strict=True)))][
            -HISTORY:
        ]

    def lines(self, width: int, height: int) -> list[Line]:
        """Returns the lines of the frame, at most ``height``. A line may be longer than ``width``: see ``painted``."""
        lines = [*self._head(width), []]
        guests, channels = self._guest_lines(), self._channel_lines()
        room = max(height - len(lines) - 3, 2)  # two heads of tables, and the empty line between them
        for_guests = min(len(guests), max(room // 2, room - len(channels)))
        lines += [_table_head(_GUEST_HEAD, width), *_cut(guests, for_guests), []]
        lines += [_table_head(_CHANNEL_HEAD, width), *_cut(channels, room - for_guests)]
        return lines[:height]

    def _head(self, width: int) -> list[Line]:
        status, history = self._sample.status, self._history
        title = f" usbbtd {status['version']}  domain {status['domid']}  up {duration(status['uptime_s'])}"
        clock = time.strftime("%H:%M:%S ")
        state, adapter = status["adapter"], "  ".join([status["address"] or "", *status["transports"]])
        connected = f"{status['guests_connected']} of {status['guests']} connected"
        others = "   ".join(f"{name} {status[name]}" for name in ("links", "channels", "listeners", "scans"))
        used = f"{self._cpu:.1f} % of a processor   {number_of_bytes(status['memory_bytes'])} of memory"
        peak = max((max(each.bytes_to, each.bytes_from) for each in history), default=0)
        now = history[-1] if history else _NO_RATES
        return [
            [Span(title + clock.rjust(max(width - len(title), 0)), REVERSE)],
            [Span(" adapter      "), Span(state, _STATE_COLOURS.get(state, RED)), Span(f"  {adapter}")],
            [Span(f" guests       {connected}   {others}")],
            [Span(f" service      {used}")],
            _traffic_line("to guests", now.sdus_to, now.bytes_to, [each.bytes_to for each in history], peak),
            _traffic_line("from guests", now.sdus_from, now.bytes_from, [each.bytes_from for each in history], peak),
        ]

    def _guest_lines(self) -> list[Line]:
        """Returns a line for each guest's device, the busiest first."""
        rows = [(self._guests.get((row["domid"], row["devid"]), _NO_RATES), row) for row in self._sample.guests]
        rows.sort(key=lambda pair: (-pair[0].bytes_both, pair[1]["domid"], pair[1]["devid"]))
        return [
            [
                Span(f" {printable(row['name'])[:14]:<14} {row['domid']:>5}/{row['devid']:<3} "),
                Span(f"{guest_state(row):<13}", _STATE_COLOURS.get(guest_state(row), YELLOW)),
                Span(f"{row.get('channels', 0):>4}"),
                *_rate_spans(rates),
            ]
            for rates, row in rows
        ]

    def _channel_lines(self) -> list[Line]:
        keyed = [((row["domid"], row["devid"], row["object"]), row) for row in self._sample.channels]
        rows = sorted(keyed, key=lambda pair: (-self._channels.get(pair[0], _NO_RATES).bytes_both, pair[0]))
        return [
            [
                Span(f" {row['address']} {row['address_type'].removeprefix('LE '):<6} {hexadecimal(row['psm'])} "),
                Span(f"{row['domid']:>5} "),
                Span(f"{row['state']:<8}", _STATE_COLOURS.get(row["state"], YELLOW)),
                *_rate_spans(self._channels.get(key, _NO_RATES)),
            ]
            for key, row in rows
        ]


_RATES_HEAD = f"{'TO SDU/s':>9}{'B/s':>8}{'FROM/s':>8}{'B/s':>8}"
_GUEST_HEAD = f" {'GUEST':<14} {'DOMID':>5}/{'DEV':<3} {'STATE':<13}{'CHAN':>4}{_RATES_HEAD}"
_CHANNEL_HEAD = f" {'PEER':<17} {'TYPE':<6} {'PSM':<6} {'DOMID':>5} {'STATE':<8}{_RATES_HEAD}"


def _rate_spans(rates: Rates) -> list[Span]:
    style = "" if any(rates) else DIM
    to_guest = f"{rates.sdus_to:>9.0f}{number_of_bytes(rates.bytes_to):>8}"
    from_guest = f"{rates.sdus_from:>8.0f}{number_of_bytes(rates.bytes_from):>8}"
    return [Span(to_guest + from_guest, style)]


def _traffic_line(name: str, sdus: float, bytes_a_second: float, history: Sequence[float], peak: float) -> Line:
    figures = f" {name:<12} {sdus:>6.0f} SDU/s {number_of_bytes(bytes_a_second):>7}/s  "
    return [Span(figures), Span(sparkline(history, peak), CYAN)]


def sparkline(values: Iterable[float], peak: float) -> str:
    """Draws a block for each value, in proportion to ``peak``. Only the block of a value that is 0 is empty."""
    top = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[min(top, max(value > 0, round(top * value / peak)))] if peak > 0 else " " for value in values
    )


def _table_head(text: str, width: int) -> Line:
    return [Span(text.ljust(width), BOLD)]


def _cut(lines: list[Line], room: int) -> list[Line]:
    if len(lines) <= room:
        return lines
    return [*lines[: max(room - 1, 0)], [Span(f" and {len(lines) - max(room - 1, 0)} more", DIM)]]


def _all_rates(
    before: list[Row], now: list[Row], names: tuple[str, ...], seconds: float
) -> dict[tuple[int, ...], Rates]:
    """Returns the rates of all rows, by the numbers ``names`` that tell rows apart.

    A row that is new, or whose counters have gone back, has counted from 0.
    """
    known = {_key(row, names): row for row in before}
    rates = {}
    for row in now:
        key = _key(row, names)
        old = known.get(key, {})
        rates[key] = Rates(*[_grown(old.get(name, 0), row.get(name, 0)) / seconds for name in _COUNTERS])
    return rates


def _grown(before: int, now: int) -> int:
    return now - before if now >= before else now


def _key(row: Row, names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(row[name] for name in names)


def painted(line: Line, width: int, *, colour: bool) -> str:
    """Returns a line as text for the terminal, cut after ``width`` letters."""
    text = []
    for span in line:
        letters = span.text[:width]
        width -= len(letters)
        text.append(f"\x1b[{span.style}m{letters}\x1b[m" if colour and span.style and letters else letters)
    return "".join(text)
