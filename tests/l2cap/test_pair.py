"""Two Muxes and any schedule: every SDU arrives once, whole and in order; every channel ends once on both sides."""

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from usbbtd.bluetooth import BREDR, CENTRAL, LE, PERIPHERAL
from usbbtd.l2cap.events import ChannelEnded, ChannelOpened, ChannelRefused, ChannelRequested, Event
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.mux import Mux

PSM = {BREDR: 0x1001, LE: 0x0080}
LINKS = {1: BREDR, 2: LE, 3: LE, 4: BREDR}
LIMITS = L2capLimits(mps=64, queue_bytes=3000, channels=8)
SIDES = st.sampled_from("ab")
HANDLES = st.sampled_from(sorted(LINKS))


def other(side: str) -> str:
    return "b" if side == "a" else "a"


class Schedules(RuleBasedStateMachine):
    """Two BR/EDR and two LE links between two Muxes. Links are independent; each keeps the order of its PDUs."""

    def __init__(self) -> None:
        super().__init__()
        self.mux = {side: Mux(limits=LIMITS) for side in "ab"}
        self.wire: dict[tuple[int, str], list[bytes]] = defaultdict(list)
        self.open: dict[str, dict[tuple[int, int], Any]] = {"a": {}, "b": {}}
        self.known: dict[str, set[tuple[int, int]]] = {"a": set(), "b": set()}
        self.reading: dict[str, dict[tuple[int, int], int]] = {"a": defaultdict(int), "b": defaultdict(int)}
        self.under_way: dict[tuple[str, int, int], list[bytes]] = defaultdict(list)  # by receiving end
        self.failures: list[str] = []
        self.now = 0.0
        for handle, transport in LINKS.items():
            self.mux["a"].add_link(handle, transport, CENTRAL, 0.0)
            self.mux["b"].add_link(handle, transport, PERIPHERAL, 0.0)
        for mux in self.mux.values():
            mux.listen(BREDR, PSM[BREDR])
            mux.listen(LE, PSM[LE])

    # -- what happens

    @rule(side=SIDES, handle=HANDLES, mtu=st.integers(48, 300))
    def connect(self, side: str, handle: int, mtu: int) -> None:
        if sum(row.handle == handle for row in self.mux[side].channels()) < LIMITS.channels:
            cid = self.mux[side].connect(handle, PSM[LINKS[handle]], mtu, self.now)
            self.known[side].add((handle, cid))
            assert (handle, cid) not in self.open[side]

    @precondition(lambda self: any(self.open.values()))
    @rule(side=SIDES, size=st.integers(0, 300), count=st.integers(1, 5), data=st.data())
    def send(self, side: str, size: int, count: int, data: st.DataObject) -> None:
        if not self.open[side]:
            return
        handle, cid = key = data.draw(st.sampled_from(sorted(self.open[side])))
        (dcid,) = (row.dcid for row in self.mux[side].channels() if (row.handle, row.cid) == key)
        for number in range(count):
            if self.mux[side].room(handle, cid) > 0:
                sdu = bytes((number,)) * min(size, self.open[side][key].tx_mtu)
                self.mux[side].send_sdu(handle, cid, sdu)
                self.under_way[other(side), handle, dcid].append(sdu)

    @precondition(lambda self: any(self.open.values()))
    @rule(side=SIDES, data=st.data())
    def disconnect(self, side: str, data: st.DataObject) -> None:
        if self.open[side]:
            handle, cid = data.draw(st.sampled_from(sorted(self.open[side])))
            del self.open[side][handle, cid]
            self.mux[side].disconnect(handle, cid, self.now)

    @rule(side=SIDES, handle=HANDLES, limit=st.integers(1, 10))
    def take(self, side: str, handle: int, limit: int) -> None:
        self.wire[handle, side] += self.mux[side].take_pdus(handle, limit)

    @rule(side=SIDES, handle=HANDLES, count=st.integers(1, 10))
    def carry(self, side: str, handle: int, count: int) -> None:
        wire = self.wire[handle, side]
        self.mux[other(side)].receive_pdus(handle, wire[:count], self.now)
        del wire[:count]
        self.drain(other(side))

    @rule(side=SIDES)
    def read(self, side: str) -> None:
        for (handle, cid), count in self.reading[side].items():
            self.mux[side].release_sdus(handle, cid, count)
        self.reading[side].clear()

    def drain(self, side: str) -> None:
        """Openings, then SDUs, then closings, as ``take_events`` wants it."""
        mux = self.mux[side]
        closings: list[Event] = []
        while happened := mux.take_events():
            for event in happened:
                match event:
                    case ChannelRequested(handle, cid):
                        self.known[side].add((handle, cid))
                        if self.mux_has(side, handle, cid):
                            mux.accept(handle, cid, 48 + cid % 100, self.now)
                    case ChannelOpened(handle, cid):
                        self.open[side][handle, cid] = event
                    case _:
                        closings.append(event)
        for handle, cid, sdu in mux.take_sdus():
            assert sdu == self.under_way[side, handle, cid].pop(0)
            self.reading[side][handle, cid] += 1
        for event in closings:
            assert isinstance(event, (ChannelEnded, ChannelRefused))
            if isinstance(event, ChannelEnded) and event.reason not in ("disconnected", "the peer disconnected"):
                self.failures.append(event.reason)
            key = event.handle, event.cid
            assert key in self.known[side]
            self.known[side].discard(key)
            self.open[side].pop(key, None)
            self.reading[side].pop(key, None)
            # an end that was disconnected before all was read, or whose cid comes again, owes nothing more
            self.under_way.pop((side, *key), None)

    def mux_has(self, side: str, handle: int, cid: int) -> bool:
        return any((row.handle, row.cid) == (handle, cid) for row in self.mux[side].channels())

    # -- what holds

    @invariant()
    def nobody_breaks_a_rule(self) -> None:
        assert self.failures == []
        for mux in self.mux.values():
            counters = mux.statistics()
            assert counters["channels_failed"] == counters["pdus_malformed"] == counters["signalling_dropped"] == 0

    def teardown(self) -> None:
        """All that is queued arrives in the end, on every channel that is open still."""
        moving = True
        while moving:
            moving = False
            for side in "ab":
                self.read(side)
                for handle in LINKS:
                    self.take(side, handle, 100)
                    moving = moving or bool(self.wire[handle, side])
                    self.carry(side, handle, 10_000)
        for side in "ab":
            for handle, cid in self.open[side]:
                assert self.under_way[side, handle, cid] == []
        assert len(self.open["a"]) == len(self.open["b"])


TestSchedules = Schedules.TestCase


@pytest.mark.parametrize("transport", [BREDR, LE])
def test_a_stream_both_ways_through_a_slow_reader(pair: Any, transport: int) -> None:
    both = pair(transport)
    ends = dict(zip((both.a, both.b), both.open(300, 2000), strict=True))
    sdus = {mux: [bytes((number % 251,)) * (number * 7 % 300) for number in range(400)] for mux in ends}
    waiting = {mux: list(reversed(sent)) for mux, sent in sdus.items()}
    received: dict[Any, list[bytes]] = {mux: [] for mux in ends}
    while any(len(received[mux]) < 400 for mux in ends):
        for mux, cid in ends.items():
            while waiting[mux] and mux.room(both.handle, cid) > 0:
                mux.send_sdu(both.handle, cid, waiting[mux].pop())
        both.run(limit=3)
        for mux, cid in ends.items():
            taken = [sdu for _, _, sdu in mux.take_sdus()]
            received[mux] += taken
            mux.release_sdus(both.handle, cid, len(taken))
    assert [received[both.b], received[both.a]] == [sdus[both.a], sdus[both.b]]
    assert both.a.take_events() == both.b.take_events() == []
