"""Path A: dom0 exports the dongle by usbif, usbbtd drives it in sys-bt, guests have channels by vl2cap."""

import json
import signal
from collections.abc import Iterator
from typing import Literal

import pytest

from tests.demo import plan
from tests.demo.traffic import LENGTHS, Counts
from tests.realxen.air import MIRROR
from tests.realxen.lab import Lab

#: Each length of traffic.LENGTHS once.
SDUS, WINDOW = len(LENGTHS), 8
PINGS = 10
#: An emulated xenstored takes 50 ms a call.
PATIENCE = ("--wait", "60")
STREAMS: dict[Literal["ping", "out", "in"], int] = {"ping": PINGS, "out": SDUS, "in": SDUS}


@pytest.fixture(scope="module", autouse=True)
def dongle(lab: Lab) -> Iterator[None]:
    """By usbif; in the end usbbtd stops in order."""
    lab.give_dongle()
    yield
    assert lab.usbbtd
    lab.usbbtd.signal(signal.SIGTERM)
    assert lab.usbbtd.wait_end() == 0


def test_adapter(lab: Lab) -> None:
    """Every guest sees it."""
    for guest in lab.guests:
        told = guest.run("usbbt-guest", "info", *PATIENCE).out
        assert plan.DONGLE_ADDRESS in told
        assert "up" in told


@pytest.mark.parametrize(
    ("transport", "size"),
    [("bredr", 0), ("bredr", 2048), ("le", 1)],  # an empty one over LE stalls Bumble
)
def test_ping(lab: Lab, transport: plan.Transport, size: int) -> None:
    """The command, which compares what comes back."""
    address = [MIRROR.address_on(transport), hex(plan.ECHO_PSM[transport])]
    le = ["--le", "random"] if transport == "le" else []
    options = ["--json", "--count", str(PINGS), "--size", str(size), "--timeout", "30", *PATIENCE]
    done = lab.guests[0].run("usbbt-guest", "ping", *address, *le, *options)
    assert json.loads(done.out)["count"] == PINGS


def test_exchange(lab: Lab) -> None:
    """SDUs of all lengths, both ways, begun by either side, over both transports, byte for byte."""
    peers, programs = lab.peers, {}
    for number, guest in zip(plan.GUESTS, lab.guests, strict=False):
        command = ["python3", "-m", "tests.demo.guest", str(number)]
        programs[number] = guest.start(*command, log="/var/log/guest")
        assert programs[number].report(timeout_s=120)["up"]
    for program in programs.values():
        program.tell({"do": "open"})
        assert program.report(timeout_s=120)["channels"] == len(plan.TRANSPORTS)
    reports = []
    for program in programs.values():
        program.tell({"do": "ping", "count": PINGS})
        rtt_us = program.report(timeout_s=120)["rtt_us"]
        assert {transport: len(times) for transport, times in rtt_us.items()} == dict.fromkeys(plan.TRANSPORTS, PINGS)
        program.tell({"do": "traffic", "count": SDUS, "window": WINDOW})
        reports.append(program.report(timeout_s=300)["counts"])
    reports.append(peers.ask(do="call", guests=list(programs), count=SDUS, window=WINDOW)["counts"])
    for program in programs.values():
        program.tell({"do": "close"})
        reports.append(program.report(timeout_s=120)["counts"])
        assert program.finish() == 0
    reports.append(peers.ask(do="counts")["counts"])
    ends: dict[int, dict[str, Counts]] = {}
    for counts in (Counts(**each) for report in reports for each in report):
        ends.setdefault(counts.stream, {})[counts.end] = counts
    for number in programs:
        for transport in plan.TRANSPORTS:
            for kind, count in STREAMS.items():
                both = ends[plan.stream_of(number, transport, kind)]
                seen = {(each.sent, each.received, each.corrupted) for each in both.values()}
                assert (set(both), seen) == ({"sender", "echo"}, {(count, count, 0)})
