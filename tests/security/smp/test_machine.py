"""What an owner sees of a pairing: questions, ends, timers; and what peers may not send."""

import pytest

from tests.security.smp.pair import CENTRAL_ADDRESS, PERIPHERAL_ADDRESS, SmpPair, randomness
from usbbtd.bluetooth import CENTRAL, LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, LEVEL_SECURE, PERIPHERAL
from usbbtd.errors import LocalProtocolError
from usbbtd.security.smp import wire
from usbbtd.security.smp.events import SmpAsked, SmpEncrypt, SmpFailed, SmpPaired, SmpPrompt, SmpPromptEnded
from usbbtd.security.smp.machine import Smp
from usbbtd.security.smp.states import EXPECTED, SmpState
from usbbtd.security.smp.wire import PairingReason, SmpPdu
from usbbtd.security.terms import CONSENT, ENTER_PASSKEY, OobData, PairingTerms

PLAIN = PairingTerms(LEVEL_ENCRYPTED, 3)
LEGACY = PLAIN._replace(secure_connections=False)
TYPES = PairingTerms(LEVEL_AUTHENTICATED, 2)
SHOWS = PairingTerms(LEVEL_AUTHENTICATED, 0)
REQUEST = wire.PairingRequest(3, 0, 0x09, 16, 0x03, 0x03)
LEGACY_REQUEST = wire.PairingRequest(0, 0, 0x05, 16, 0x03, 0x03)


def machine(role: int) -> Smp:
    addresses = (CENTRAL_ADDRESS, PERIPHERAL_ADDRESS)
    return Smp(role, addresses[role], addresses[not role], randomness(3))


def failed(reason: PairingReason) -> list[bytes]:
    return [wire.PairingFailed(reason).pack()]


# The peer begins


def test_a_request_is_asked_about() -> None:
    smp = machine(PERIPHERAL)
    smp.receive(REQUEST.pack(), 1.0)
    assert smp.take_events() == [SmpAsked(True, False, True, 3)]
    assert smp.take_pdus() == []
    assert smp.next_timeout() == 26.0
    smp.refuse(2.0, PairingReason.REPEATED_ATTEMPTS)
    assert smp.take_pdus() == failed(PairingReason.REPEATED_ATTEMPTS)
    assert smp.take_events() == []
    assert smp.state is SmpState.IDLE
    assert smp.next_timeout() is None


def test_consent_is_asked_before_the_response() -> None:
    smp = machine(PERIPHERAL)
    smp.receive(REQUEST.pack(), 1.0)
    smp.accept(PLAIN, 10.0)
    assert smp.take_events()[1:] == [SmpPrompt(CONSENT, None)]
    assert smp.take_pdus() == []
    assert smp.next_timeout() == 26.0  # the peer waits since its request
    assert smp.answer(True, None, 20.0)
    assert [pdu[0] for pdu in smp.take_pdus()] == [0x02]
    assert smp.take_events() == [SmpPromptEnded()]
    assert smp.next_timeout() == 50.0
    assert not smp.answer(True, None, 21.0)


@pytest.mark.parametrize("accepts", [True, False])
def test_who_does_not_answer_has_refused(accepts: bool) -> None:
    smp = machine(PERIPHERAL)
    smp.receive(REQUEST.pack(), 1.0)
    if accepts:
        smp.accept(PLAIN, 2.0)
    smp.handle_timeout(25.9)
    assert smp.is_busy
    smp.handle_timeout(26.0)
    assert smp.take_pdus() == failed(PairingReason.PAIRING_NOT_SUPPORTED)
    event = smp.take_events()[-1]
    assert isinstance(event, SmpFailed)
    assert not event.by_peer
    assert not smp.is_timed_out  # the peer may try again


def test_a_security_request_is_asked_about() -> None:
    smp = machine(CENTRAL)
    smp.receive(wire.SecurityRequest(0x0D).pack(), 1.0)
    assert smp.take_events() == [SmpAsked(True, True, True, None)]
    smp.receive(wire.SecurityRequest(0x0D).pack(), 2.0)
    assert smp.take_events() == []
    smp.accept(TYPES, 3.0)
    assert [pdu[0] for pdu in smp.take_pdus()] == [0x01]
    smp.receive(wire.SecurityRequest(0x0D).pack(), 4.0)
    assert smp.state is SmpState.WAIT_PAIRING_RESPONSE
    assert smp.statistics()["security requests ignored"] == 2


def test_a_bonds_key_answers_a_security_request() -> None:
    smp = machine(CENTRAL)
    smp.receive(wire.SecurityRequest(0x01).pack(), 1.0)
    smp.take_events()
    smp.encrypted(2.0)
    assert (smp.take_events(), smp.take_pdus(), smp.state) == ([], [], SmpState.IDLE)
    assert smp.next_timeout() is None
    ours = machine(PERIPHERAL)
    ours.start(PLAIN, 1.0)
    assert ours.take_pdus() == [wire.SecurityRequest(0x09).pack()]
    ours.encrypted(2.0)
    assert (ours.take_events(), ours.state) == ([], SmpState.IDLE)


@pytest.mark.parametrize("terms", [PLAIN, LEGACY])
def test_a_peripheral_asks_its_central(terms: PairingTerms) -> None:
    pair = SmpPair(terms, terms).run(starts=PERIPHERAL)
    assert len(pair.results()) == 2
    assert [(side, pdu[0]) for side, pdu in pair.log[:2]] == [(PERIPHERAL, 0x0B), (CENTRAL, 0x01)]
    assert pair.asked_for == [CONSENT]
    assert [type(event) for event in pair.events[CENTRAL][:2]] == [SmpAsked, SmpPrompt]


# Time


@pytest.mark.parametrize("role", [CENTRAL, PERIPHERAL])
def test_a_silent_peer_ends_all_pairing_on_the_link(role: int) -> None:
    smp = machine(role)
    smp.start(PLAIN, 10.0)
    smp.take_pdus()
    assert smp.next_timeout() == 40.0
    smp.handle_timeout(40.0)
    assert smp.is_timed_out
    (event,) = smp.take_events()
    assert isinstance(event, SmpFailed)
    assert event.reason is None
    for pdu in (REQUEST, wire.PairingResponse(3, 0, 0x09, 16, 0, 0), wire.SecurityRequest(1)):
        smp.receive(pdu.pack(), 41.0)
    assert (smp.take_events(), smp.take_pdus()) == ([], [])
    assert smp.statistics()["after the timeout"] == 3
    with pytest.raises(LocalProtocolError):
        smp.start(PLAIN, 42.0)
    with pytest.raises(LocalProtocolError):
        smp.accept(PLAIN, 42.0)
    assert smp.next_timeout() is None


def test_each_pdu_sent_winds_the_timer() -> None:
    smp = machine(CENTRAL)
    smp.start(PLAIN, 10.0)
    smp.receive(wire.PairingResponse(3, 0, 0x09, 16, 0, 0).pack(), 20.0)
    assert smp.next_timeout() == 50.0
    smp.receive(wire.KeypressNotification(1).pack(), 30.0)
    assert smp.next_timeout() == 50.0  # what is received does not


def test_a_person_who_does_not_type() -> None:
    smp = machine(CENTRAL)
    smp.start(TYPES, 10.0)
    smp.receive(wire.PairingResponse(0, 0, 0x05, 16, 0, 0).pack(), 12.0)
    assert smp.take_events() == [SmpPrompt(ENTER_PASSKEY, None)]
    assert smp.next_timeout() == 37.0
    smp.handle_timeout(37.0)
    assert smp.take_pdus()[1:] == failed(PairingReason.PASSKEY_ENTRY_FAILED)
    assert [type(event) for event in smp.take_events()] == [SmpPromptEnded, SmpFailed]
    assert not smp.answer(True, 1, 38.0)


# Answers


@pytest.mark.parametrize("value", [None, -1, 1_000_000])
def test_a_passkey_that_is_none_refuses(value: int | None) -> None:
    smp = machine(CENTRAL)
    smp.start(TYPES, 0.0)
    smp.receive(wire.PairingResponse(0, 0, 0x05, 16, 0, 0).pack(), 0.0)
    smp.take_pdus()
    assert smp.answer(True, value, 0.0)
    assert smp.take_pdus() == failed(PairingReason.PASSKEY_ENTRY_FAILED)


def test_what_is_shown_can_be_refused_only() -> None:
    smp = machine(CENTRAL)
    smp.start(SHOWS, 0.0)
    smp.receive(wire.PairingResponse(2, 0, 0x05, 16, 0, 0).pack(), 0.0)
    smp.take_pdus()
    assert not smp.answer(True, None, 0.0)
    assert smp.answer(False, None, 0.0)
    assert smp.take_pdus() == failed(PairingReason.PASSKEY_ENTRY_FAILED)


def test_cancelling() -> None:
    smp = machine(CENTRAL)
    smp.cancel(0.0)
    assert (smp.take_events(), smp.take_pdus()) == ([], [])
    smp.start(PLAIN, 0.0)
    smp.take_pdus()
    smp.cancel(1.0)
    assert smp.take_pdus() == failed(PairingReason.UNSPECIFIED_REASON)
    assert [type(event) for event in smp.take_events()] == [SmpFailed]
    smp.start(PLAIN, 2.0)


@pytest.mark.parametrize(
    "terms",
    [
        PLAIN._replace(io_capability=5),
        PLAIN._replace(level=5),
        PLAIN._replace(oob=OobData(peer_confirm=bytes(16))),
        PLAIN._replace(oob=OobData(temporary_key=bytes(15))),
        PLAIN._replace(level=LEVEL_SECURE, secure_connections=False),
        PLAIN._replace(level=LEVEL_SECURE, oob=OobData(temporary_key=bytes(16))),
    ],
)
def test_impossible_terms_are_the_owners_fault(terms: PairingTerms) -> None:
    smp = machine(CENTRAL)
    with pytest.raises(LocalProtocolError):
        smp.start(terms, 0.0)
    assert not smp.is_busy
    with pytest.raises(LocalProtocolError):
        smp.refuse(0.0)


# Encryption


def test_only_our_own_encryption_counts() -> None:
    smp = machine(PERIPHERAL)
    smp.receive(LEGACY_REQUEST.pack(), 0.0)
    smp.accept(TYPES, 0.0)
    smp.encrypted(0.0)  # with the key of a bond, while the pairing goes on
    assert smp.long_term_key(0, 0) is None
    assert smp.state is SmpState.WAIT_CONFIRM


def test_the_key_has_no_name() -> None:
    pair = SmpPair(LEGACY, LEGACY)
    pair.smps[CENTRAL].start(LEGACY, 0.0)
    keys: list[tuple[bytes | None, ...]] = []

    def handle(side: int, event: object) -> None:
        if isinstance(event, SmpEncrypt):
            smp = pair.smps[PERIPHERAL]
            smp.encrypted(0.0)  # before the controller asked for the key: not with ours
            keys.append((smp.long_term_key(1, 0), smp.long_term_key(0, 1), smp.long_term_key(0, 0)))
        else:
            SmpPair.handle(pair, side, event)  # type: ignore[arg-type]

    pair.handle = handle  # type: ignore[method-assign]
    pair.pump()
    assert len(keys) == 1
    assert keys[0][:2] == (None, None)
    assert keys[0][2] is not None
    assert pair.smps[PERIPHERAL].state is SmpState.WAIT_ENCRYPTION
    assert pair.smps[CENTRAL].long_term_key(0, 0) is None
    for smp in pair.smps:
        smp.encryption_failed(0.0)
    pair.pump()
    assert all(not isinstance(event, SmpPaired) for events in pair.events for event in events)


# What peers may not say


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (REQUEST.pack()[:-1], PairingReason.INVALID_PARAMETERS),
        (REQUEST.pack() + b"\0", PairingReason.INVALID_PARAMETERS),
        (wire.PairingRequest(5, 0, 0x09, 16, 0, 0).pack(), PairingReason.INVALID_PARAMETERS),
        (wire.PairingRequest(3, 2, 0x09, 16, 0, 0).pack(), PairingReason.INVALID_PARAMETERS),
        (wire.PairingRequest(3, 0, 0x09, 17, 0, 0).pack(), PairingReason.INVALID_PARAMETERS),
        (wire.PairingRequest(3, 0, 0x09, 6, 0, 0).pack(), PairingReason.ENCRYPTION_KEY_SIZE),
        (wire.PairingResponse(3, 0, 0x09, 16, 0, 0).pack(), None),
        (wire.SecurityRequest(0x01).pack(), PairingReason.COMMAND_NOT_SUPPORTED),
        (wire.PairingConfirm(bytes(16)).pack(), None),
        (wire.PairingFailed(8).pack(), None),
        (b"\x0f\0", None),
        (b"", None),
    ],
)
def test_what_begins_nothing(request_: bytes, reason: PairingReason | None) -> None:
    smp = machine(PERIPHERAL)
    smp.receive(request_, 0.0)
    assert smp.take_events() == []
    assert smp.take_pdus() == ([] if reason is None else failed(reason))
    assert smp.next_timeout() is None


def test_a_central_is_not_asked_to_pair() -> None:
    smp = machine(CENTRAL)
    smp.receive(REQUEST.pack(), 0.0)
    assert smp.take_pdus() == failed(PairingReason.COMMAND_NOT_SUPPORTED)


@pytest.mark.parametrize(
    ("terms", "response", "reason"),
    [
        (TYPES, wire.PairingResponse(3, 0, 0x09, 16, 0, 0), PairingReason.AUTHENTICATION_REQUIREMENTS),
        (
            TYPES._replace(level=4),
            wire.PairingResponse(0, 0, 0x05, 16, 0, 0),
            PairingReason.AUTHENTICATION_REQUIREMENTS,
        ),
        (TYPES._replace(level=4), wire.PairingResponse(0, 0, 0x0D, 15, 0, 0), PairingReason.ENCRYPTION_KEY_SIZE),
        (PLAIN, wire.PairingResponse(0, 0, 0x0D, 6, 0, 0), PairingReason.ENCRYPTION_KEY_SIZE),
        (PLAIN, wire.PairingResponse(0, 0, 0x0D, 16, 0x04, 0), PairingReason.INVALID_PARAMETERS),
        (PLAIN, wire.PairingResponse(0, 0, 0x0D, 16, 0, 0x08), PairingReason.INVALID_PARAMETERS),
        (PLAIN, wire.PairingResponse(9, 0, 0x0D, 16, 0, 0), PairingReason.INVALID_PARAMETERS),
    ],
)
def test_a_response_that_does_not_do(terms: PairingTerms, response: SmpPdu, reason: PairingReason) -> None:
    smp = machine(CENTRAL)
    smp.start(terms, 0.0)
    smp.take_pdus()
    smp.receive(response.pack(), 0.0)
    assert smp.take_pdus() == failed(reason)
    (event,) = smp.take_events()
    assert isinstance(event, SmpFailed)
    assert event.reason == reason


def test_a_responder_that_needs_authentication_says_so_first() -> None:
    smp = machine(PERIPHERAL)
    smp.receive(REQUEST.pack(), 0.0)
    smp.accept(TYPES, 0.0)
    assert smp.take_pdus() == failed(PairingReason.AUTHENTICATION_REQUIREMENTS)


def test_the_peer_ends_it() -> None:
    smp = machine(CENTRAL)
    smp.start(PLAIN, 0.0)
    smp.take_pdus()
    smp.receive(wire.PairingFailed(PairingReason.REPEATED_ATTEMPTS).pack(), 0.0)
    assert smp.take_pdus() == []
    (event,) = smp.take_events()
    assert event == SmpFailed(9, True, "the peer ended the pairing: repeated attempts")
    smp.start(PLAIN, 0.0)


def reach(role: int, state: SmpState) -> Smp:
    """Returns a machine in this state, by a pairing that was stopped there."""
    for terms in ((PLAIN, PLAIN), (LEGACY, PLAIN), (SHOWS, TYPES), (TYPES, SHOWS)):
        for starts in (CENTRAL, PERIPHERAL):
            pair = SmpPair(*terms, identities=((b"i" * 16, *CENTRAL_ADDRESS), (b"j" * 16, *PERIPHERAL_ADDRESS)))
            pair.smps[starts].start(terms[starts], 0.0)
            for _ in range(100):
                if pair.smps[role].state is state:
                    pair.smps[role].take_pdus()
                    pair.smps[role].take_events()
                    return pair.smps[role]
                if not step(pair):
                    break
    raise AssertionError(f"{state} is not reached")


def step(pair: SmpPair) -> bool:
    """Carries one thing."""
    for side, smp in enumerate(pair.smps):
        if smp._events:
            event = smp._events.pop(0)
            pair.events[side].append(event)
            if isinstance(event, SmpEncrypt):
                assert pair.smps[PERIPHERAL].long_term_key(0, 0) == event.key
                return True
            pair.handle(side, event)
            return True
        if smp._pdus:
            pair.smps[not side].receive(smp._pdus.pop(0), 0.0)
            return True
    if pair.answer_passkeys():
        return True
    waiting = [smp for smp in pair.smps[::-1] if smp.state is SmpState.WAIT_ENCRYPTION]
    for smp in waiting:
        smp.encrypted(0.0)
    return bool(waiting)


_REACHED = {
    CENTRAL: set(SmpState) - {SmpState.TIMED_OUT, SmpState.IDLE, SmpState.WAIT_PAIRING_REQUEST},
    PERIPHERAL: set(SmpState) - {SmpState.TIMED_OUT, SmpState.IDLE, SmpState.WAIT_PAIRING_RESPONSE},
}
_IGNORED = (wire.KeypressNotification,)


@pytest.mark.parametrize(
    ("role", "state", "kind"),
    [
        (role, state, kind)
        for role, states in _REACHED.items()
        for state in sorted(states)
        for kind in SmpPdu.registry.values()
        if kind not in (*EXPECTED[state], *_IGNORED, wire.PairingFailed)
    ],
)
def test_what_no_state_waits_for_ends_the_pairing(role: int, state: SmpState, kind: type[SmpPdu]) -> None:
    smp = reach(role, state)
    smp.long_term_key(0, 0)
    smp.receive(bytes((kind.CODE,)) + bytes(kind.LAYOUT.size), 0.0)
    events = smp.take_events()
    assert not [event for event in events if isinstance(event, SmpPaired)]
    if (role == CENTRAL and kind is wire.SecurityRequest) or (
        state is SmpState.WAIT_ENCRYPTION and kind in EXPECTED[SmpState.WAIT_KEYS]
    ):
        assert smp.state is state
        return
    end = events[-1]
    assert isinstance(end, SmpFailed)
    wrong_role = (wire.PairingRequest,) if role == CENTRAL else (wire.PairingResponse, wire.SecurityRequest)
    reason = PairingReason.COMMAND_NOT_SUPPORTED if kind in wrong_role else PairingReason.UNSPECIFIED_REASON
    assert end.reason == reason
    assert smp.take_pdus() == failed(reason)
    assert smp.state is SmpState.IDLE


@pytest.mark.parametrize(("role", "state"), [(role, state) for role in _REACHED for state in sorted(_REACHED[role])])
def test_in_every_state(role: int, state: SmpState) -> None:
    """The peer, or the owner, or time may end it; keypresses and reserved codes do nothing."""
    smp = reach(role, state)
    for ignored in (wire.KeypressNotification(2).pack(), b"\x7f\x01\x02"):
        smp.receive(ignored, 0.0)
    assert (smp.state, smp.take_events(), smp.take_pdus()) == (state, [], [])
    for end in ("failed", "cancel", "malformed", "time"):
        smp = reach(role, state)
        if end == "failed":
            smp.receive(wire.PairingFailed(8).pack(), 0.0)
        elif end == "cancel":
            smp.cancel(0.0)
        elif end == "malformed":
            smp.receive(b"\x03\x01", 0.0)
        else:
            due = smp.next_timeout()
            assert due is not None
            smp.handle_timeout(due)
        assert not smp.is_busy
        assert isinstance(smp.take_events()[-1], SmpFailed)
        assert smp.next_timeout() is None
