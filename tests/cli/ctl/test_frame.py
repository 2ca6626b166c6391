"""Frames of usbbtctl top: what is shown when there is much, or little, or a small terminal."""

from typing import Any

import pytest

from usbbtd.cli.ctl.frame import HISTORY, Sample, View, painted, sparkline

STATUS = {
    "version": "1.2.3", "domid": 3, "uptime_s": 3700.0, "adapter": "up", "address": "C0:FF:EE:00:00:01",
    "transports": ["BR/EDR", "LE"], "missing": [], "guests": 2, "guests_connected": 1, "links": 1, "channels": 1,
    "listeners": 0, "scans": 0, "cpu_s": 1.0, "memory_bytes": 40_000_000,
}  # fmt: skip


def guest(domid: int, sdus: int = 0, **others: Any) -> dict[str, Any]:
    carried = {"sdus_to_guest": sdus, "bytes_to_guest": 100 * sdus, "sdus_from_guest": 0, "bytes_from_guest": 0}
    row = {"domid": domid, "devid": 0, "name": f"guest-{domid}", "state": "Connected", "channels": 1}
    return row | carried | others


def channel(domid: int, number: int, sdus: int = 0) -> dict[str, Any]:
    peer = {"object": number, "address": f"C0:FF:EE:00:00:{number:02X}", "address_type": "LE random", "psm": 0x80}
    return guest(domid, sdus) | peer | {"state": "open"}


def sample(at: float, guests: list[dict[str, Any]], channels: list[dict[str, Any]], **status: Any) -> Sample:
    return Sample(at, STATUS | status, guests, channels)


def text(view: View, width: int = 80, height: int = 24) -> list[str]:
    return [painted(line, width, colour=False).rstrip() for line in view.lines(width, height)]


def test_rates_are_differences_a_second() -> None:
    view = View(sample(10, [guest(4, 100)], [channel(4, 1, 100)]))
    view.advance(sample(12, [guest(4, 300)], [channel(4, 1, 300)], cpu_s=1.5))
    frame = text(view)
    (row,) = [line for line in frame if "guest-4" in line]
    assert row.split() == ["guest-4", "4/0", "Connected", "1", "100", "10.0", "kB", "0", "0", "B"]
    (row,) = [line for line in frame if "C0:FF:EE:00:00:01 random" in line]
    assert row.split() == ["C0:FF:EE:00:00:01", "random", "0x0080", "4", "open", "100", "10.0", "kB", "0", "0", "B"]
    assert "25.0 % of a processor" in frame[3]
    assert frame[4].split()[:5] == ["to", "guests", "100", "SDU/s", "10.0"]


def test_a_guest_that_connects_anew_counts_from_nothing() -> None:
    view = View(sample(0, [guest(4, 5000)], []))
    view.advance(sample(1, [guest(4, 30), guest(5, 20)], []))
    assert [line.split()[4] for line in text(view) if "guest-" in line] == ["30", "20"]


@pytest.mark.parametrize(
    ("state", "reason", "shown"),
    [
        ("InitWait", "", "idle"),
        ("Closed", "", "idle"),  # a program of the guest has ended
        ("Closed", "ring: it broke a rule", "Closed"),
        ("Initialising", "", "Initialising"),
    ],
)
def test_a_guest_that_is_not_connected_has_no_figures(state: str, reason: str, shown: str) -> None:
    alone = {"domid": 9, "devid": 1, "name": None, "state": state, "reason": reason, "connected": False}
    view = View(sample(0, [alone], []))
    view.advance(sample(1, [alone], []))
    (row,) = [line for line in text(view) if "9/1" in line]
    assert row.split() == ["-", "9/1", shown, "0", "0", "0", "B", "0", "0", "B"]


def test_the_busiest_come_first_and_what_has_no_room_is_counted() -> None:
    few, many = [guest(domid) for domid in range(40)], [channel(4, number) for number in range(100)]
    view = View(sample(0, few, many))
    view.advance(
        sample(1, [guest(domid, domid) for domid in range(40)], [channel(4, number, number) for number in range(100)])
    )
    frame = text(view)
    assert len(frame) == 24
    assert next(line.split()[0] for line in frame if "guest-" in line) == "guest-39"
    assert "C0:FF:EE:00:00:63" in next(line for line in frame if "random" in line)
    assert sum(int(line.split()[1]) for line in frame if line.startswith(" and ")) == 140 - sum(
        "guest-" in line or "random" in line for line in frame
    )


def test_no_frame_is_larger_than_the_terminal() -> None:
    view = View(sample(0, [guest(domid) for domid in range(40)], [channel(4, number) for number in range(100)]))
    for width, height in ((80, 24), (40, 10), (20, 3), (200, 60)):
        frame = text(view, width, height)
        assert len(frame) <= height
        assert max(map(len, frame)) <= width
        assert len(frame) == height or height > 24


def test_names_do_not_steer_the_terminal() -> None:
    view = View(sample(0, [guest(4, name="\x1b[2Jevil")], []))
    assert " ?[2Jevil " in "\n".join(text(view))
    styled = "".join(painted(line, 80, colour=True) for line in view.lines(80, 24))
    assert "\x1b[2J" not in styled
    assert "\x1b[32mConnected" in styled


def test_sparklines() -> None:
    assert sparkline([0, 0.01, 4, 8], 8) == " ▁▄█"
    assert sparkline([0, 0], 0) == "  "


def test_the_history_is_bounded() -> None:
    view = View(sample(0, [guest(4)], []))
    for number in range(3 * HISTORY):
        view.advance(sample(number + 1, [guest(4, 7 * number)], []))
    assert text(view)[4].count("█") == HISTORY
