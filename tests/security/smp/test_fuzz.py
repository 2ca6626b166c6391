"""Peers that send anything, and owners that do anything: no exception, one end a pairing, no key without its proof."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.smp.pair import CENTRAL_ADDRESS, PERIPHERAL_ADDRESS, SmpPair, randomness
from usbbtd.bluetooth import CENTRAL, LEVEL_AUTHENTICATED, PERIPHERAL
from usbbtd.errors import LocalProtocolError
from usbbtd.security import toolbox
from usbbtd.security.smp import wire
from usbbtd.security.smp.events import SmpAsked, SmpEncrypt, SmpFailed, SmpPaired, SmpPrompt, SmpPromptEnded
from usbbtd.security.smp.machine import Smp
from usbbtd.security.smp.wire import SmpPdu
from usbbtd.security.terms import PairingTerms

ADDRESSES = (CENTRAL_ADDRESS, PERIPHERAL_ADDRESS)
PEER_KEY = toolbox.public_key(4711)

roles = st.sampled_from((CENTRAL, PERIPHERAL))
terms = st.builds(
    PairingTerms,
    level=st.integers(0, 3),
    io_capability=st.integers(0, 4),
    bondable=st.booleans(),
    secure_connections=st.booleans(),
    oob=st.none(),
)
features = st.tuples(
    st.integers(0, 5), st.integers(0, 1), st.integers(0, 31), st.integers(6, 17), st.integers(0, 15), st.integers(0, 15)
)
pdus = st.one_of(
    st.binary(max_size=70),
    features.map(lambda values: wire.PairingRequest(*values).pack()),
    features.map(lambda values: wire.PairingResponse(*values).pack()),
    st.just(wire.PairingPublicKey(*PEER_KEY).pack()),
    st.sampled_from(sorted(SmpPdu.registry)).map(
        lambda code: bytes((code,)) + bytes(SmpPdu.registry[code].LAYOUT.size)
    ),
    st.builds(
        lambda kind, value: kind(value).pack(),
        st.sampled_from((wire.PairingConfirm, wire.PairingRandom)),
        st.binary(min_size=16, max_size=16),
    ),
)
steps = st.one_of(
    pdus.map(lambda pdu: ("pdu", pdu)),
    st.just(("reflect", None)),
    terms.map(lambda each: ("start", each)),
    terms.map(lambda each: ("accept", each)),
    st.just(("refuse", None)),
    st.just(("cancel", None)),
    st.tuples(st.just("answer"), st.one_of(st.none(), st.integers(0, 999_999))),
    st.just(("no", None)),
    st.just(("encrypted", None)),
    st.just(("encryption_failed", None)),
    st.just(("ltk", None)),
    st.just(("time", None)),
)


def act(smp: Smp, kind: str, value: object, now: float) -> None:
    """Does one step of a script. Raises LocalProtocolError where an owner may not do it."""
    if isinstance(value, bytes):
        smp.receive(value, now)
    elif isinstance(value, PairingTerms):
        (smp.start if kind == "start" else smp.accept)(value, now)
    elif kind in ("answer", "no"):
        smp.answer(kind == "answer", value if isinstance(value, int) else None, now)
    elif kind == "ltk":
        smp.long_term_key(0, 0)
    elif kind == "time":
        smp.handle_timeout(now)
    else:
        getattr(smp, kind)(now)


class Owner:
    """Counts what an owner hears: each pairing that began ends once, and each question."""

    def __init__(self, smp: Smp) -> None:
        self.smp = smp
        self.going_on = 0
        self.asked = 0
        self.sent = [b"\x05\x08"]

    def step(self, kind: str, value: object, now: float) -> None:
        was_busy = self.smp.is_busy
        try:
            act(self.smp, kind, value, now)
        except LocalProtocolError:
            assert kind in ("start", "accept", "refuse")
            return
        self.sent += self.smp.take_pdus()
        events = self.smp.take_events()
        ends = sum(isinstance(event, SmpFailed | SmpPaired) for event in events)
        if kind == "refuse" or (kind == "encrypted" and was_busy and not self.smp.is_busy):
            ends = 1  # without an event, as it may be
        self.going_on += (
            (kind == "start" and not was_busy) + sum(isinstance(event, SmpAsked) for event in events) - ends
        )
        self.asked += sum(isinstance(event, SmpPrompt) for event in events)
        self.asked -= sum(isinstance(event, SmpPromptEnded) for event in events)
        assert self.going_on == self.smp.is_busy
        assert 0 <= self.asked <= self.smp.is_busy
        assert self.smp.is_busy == (self.smp.next_timeout() is not None)
        # An outsider can make up what just works needs, and no more
        assert not [event for event in events if isinstance(event, SmpPaired) and event.result.authenticated]


@given(role=roles, script=st.lists(steps, max_size=40), seed=st.integers(0, 1000))
@settings(max_examples=300, deadline=None)
def test_anything(role: int, script: list[tuple[str, object]], seed: int) -> None:
    smp = Smp(role, ADDRESSES[role], ADDRESSES[not role], randomness(seed))
    owner = Owner(smp)
    now = 0.0
    for kind, value in script:
        due = smp.next_timeout() if kind == "time" else None
        now = now + 0.5 if due is None else max(now, due)
        owner.step(*(("pdu", owner.sent[-1]) if kind == "reflect" else (kind, value)), now)


@given(
    sides=st.tuples(terms, terms),
    starts=roles,
    tampered=st.tuples(st.integers(0, 60), st.integers(0, 64), st.integers(1, 255)),
)
@settings(max_examples=300, deadline=None)
def test_no_octet_may_turn(
    sides: tuple[PairingTerms, PairingTerms], starts: int, tampered: tuple[int, int, int]
) -> None:
    """One octet on the way is another: then both sides have the same key, or none has any."""
    pair = SmpPair(*sides, typed=4711)
    count = 0

    def tamper(_side: int, pdu: bytes) -> bytes:
        nonlocal count
        count += 1
        if count - 1 != tampered[0] or tampered[1] >= len(pdu) or pair.key is not None:
            return pdu
        turned = bytearray(pdu)
        turned[tampered[1]] ^= tampered[2]
        return bytes(turned)

    pair.tamper = tamper
    pair.smps[starts].start(sides[starts], 0.0)
    pair.pump()
    # ``handle`` has compared both keys when the central got one
    keys = [event.key for event in pair.events[CENTRAL] if isinstance(event, SmpEncrypt)]
    assert keys == ([] if pair.key is None else [pair.key])
    for side, events in enumerate(pair.events):
        for event in events:
            if isinstance(event, SmpPaired):
                assert pair.key is not None
                assert event.result.authenticated or sides[side].level < LEVEL_AUTHENTICATED
