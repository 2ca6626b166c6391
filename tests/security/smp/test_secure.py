"""Secure Connections against peers and people that do not do what they should."""

import pytest

from tests.security.smp.pair import CENTRAL_ADDRESS, PERIPHERAL_ADDRESS, SmpPair, randomness
from usbbtd.bluetooth import CENTRAL, LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, LEVEL_SECURE, PERIPHERAL
from usbbtd.security import toolbox
from usbbtd.security.smp import wire
from usbbtd.security.smp.events import SmpAsked, SmpFailed, SmpPaired, SmpPrompt
from usbbtd.security.smp.machine import Smp
from usbbtd.security.smp.wire import PairingReason
from usbbtd.security.terms import CONFIRM, OobData, PairingTerms

PASSKEY = (PairingTerms(LEVEL_SECURE, 0), PairingTerms(LEVEL_SECURE, 2))
NUMBERS = (PairingTerms(LEVEL_SECURE, 1), PairingTerms(LEVEL_SECURE, 1))
JUST_WORKS = (PairingTerms(LEVEL_ENCRYPTED, 3), PairingTerms(LEVEL_ENCRYPTED, 3))
PUBLIC_KEY, CONFIRM_PDU, RANDOM, CHECK = 0x0C, 0x03, 0x04, 0x0D


def flipped(pdu: bytes) -> bytes:
    return pdu[:-1] + bytes((pdu[-1] ^ 1,))


def run_tampered(terms: tuple[PairingTerms, PairingTerms], by: int, code: int, occurrence: int = 1) -> SmpPair:
    """Pairs while one bit of the n-th PDU of this kind of one side is turned."""
    pair = SmpPair(*terms)
    seen = 0

    def tamper(side: int, pdu: bytes) -> bytes:
        nonlocal seen
        if side != by or pdu[0] != code:
            return pdu
        seen += 1
        return flipped(pdu) if seen == occurrence else pdu

    pair.tamper = tamper
    pair.run()
    assert seen >= occurrence
    return pair


@pytest.mark.parametrize("terms", [PASSKEY, NUMBERS, JUST_WORKS])
@pytest.mark.parametrize("by", [CENTRAL, PERIPHERAL])
def test_no_bit_of_a_public_key_may_turn(terms: tuple[PairingTerms, PairingTerms], by: int) -> None:
    pair = run_tampered(terms, by, PUBLIC_KEY)
    assert {failure.reason for failure in pair.failures()} == {PairingReason.INVALID_PARAMETERS}
    assert pair.key is None


@pytest.mark.parametrize(
    ("terms", "by", "code", "occurrence", "reason"),
    [
        (PASSKEY, CENTRAL, CONFIRM_PDU, 1, PairingReason.CONFIRM_VALUE_FAILED),
        (PASSKEY, PERIPHERAL, CONFIRM_PDU, 20, PairingReason.CONFIRM_VALUE_FAILED),
        (PASSKEY, CENTRAL, RANDOM, 20, PairingReason.CONFIRM_VALUE_FAILED),
        (PASSKEY, PERIPHERAL, RANDOM, 7, PairingReason.CONFIRM_VALUE_FAILED),
        (JUST_WORKS, PERIPHERAL, CONFIRM_PDU, 1, PairingReason.CONFIRM_VALUE_FAILED),
        (JUST_WORKS, PERIPHERAL, RANDOM, 1, PairingReason.CONFIRM_VALUE_FAILED),
        (JUST_WORKS, CENTRAL, RANDOM, 1, PairingReason.DHKEY_CHECK_FAILED),
        (NUMBERS, CENTRAL, CHECK, 1, PairingReason.DHKEY_CHECK_FAILED),
        (NUMBERS, PERIPHERAL, CHECK, 1, PairingReason.DHKEY_CHECK_FAILED),
    ],
)
def test_no_bit_of_a_value_may_turn(
    terms: tuple[PairingTerms, PairingTerms], by: int, code: int, occurrence: int, reason: PairingReason
) -> None:
    pair = run_tampered(terms, by, code, occurrence)
    assert [failure.reason for failure in pair.failures()] == [reason] * 2
    assert pair.key is None


def test_features_are_authenticated() -> None:
    """Who makes the two sides believe in less than they have is found out by the check."""
    terms = (PairingTerms(LEVEL_ENCRYPTED, 4), PairingTerms(LEVEL_ENCRYPTED, 4))
    pair = SmpPair(*terms)
    pair.tamper = lambda _side, pdu: bytes((pdu[0], 3, *pdu[2:])) if pdu[0] in (1, 2) else pdu
    pair.run()
    assert {failure.reason for failure in pair.failures()} == {PairingReason.DHKEY_CHECK_FAILED}


@pytest.mark.parametrize("typed", [0, 999_999])
def test_a_wrong_passkey_fails(typed: int) -> None:
    pair = SmpPair(*PASSKEY, typed=typed).run()
    assert pair.shown[CENTRAL] != typed
    assert {failure.reason for failure in pair.failures()} == {PairingReason.CONFIRM_VALUE_FAILED}


def test_numbers_that_differ_fail() -> None:
    pair = SmpPair(*NUMBERS)
    pair.confirms = False
    pair.run()
    assert {failure.reason for failure in pair.failures()} == {PairingReason.NUMERIC_COMPARISON_FAILED}
    assert pair.asked_for.count(CONFIRM) == 2


def scripted(role: int, terms: PairingTerms) -> Smp:
    """Returns a machine that has sent its public key, whose peer has only display and yes/no."""
    addresses = (CENTRAL_ADDRESS, PERIPHERAL_ADDRESS)
    smp = Smp(role, addresses[role], addresses[not role], randomness(5))
    if role == CENTRAL:
        smp.start(terms, 0.0)
        smp.receive(wire.PairingResponse(1, 0, 0x0D, 16, 0, 0).pack(), 0.0)
    else:
        smp.receive(wire.PairingRequest(1, 0, 0x0D, 16, 0, 0).pack(), 0.0)
        smp.accept(terms, 0.0)
    return smp


def failure(smp: Smp) -> SmpFailed:
    (event,) = [event for event in smp.take_events() if isinstance(event, SmpFailed | SmpPaired)]
    assert isinstance(event, SmpFailed)
    assert smp.take_pdus()[-1] == wire.PairingFailed(event.reason or 0).pack()
    return event


@pytest.mark.parametrize("other_y", [False, True])
def test_our_own_key_is_refused(other_y: bool) -> None:
    smp = scripted(CENTRAL, NUMBERS[0])
    own = wire.parse_pdu(smp.take_pdus()[-1])
    assert isinstance(own, wire.PairingPublicKey)
    y = int.from_bytes(own.y, "little")
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    sent = wire.PairingPublicKey(own.x, (prime - y).to_bytes(32, "little") if other_y else own.y)
    smp.receive(sent.pack(), 0.0)
    assert failure(smp).reason == PairingReason.INVALID_PARAMETERS


@pytest.mark.parametrize("role", [CENTRAL, PERIPHERAL])
def test_the_debug_key_is_refused(role: int) -> None:
    smp = scripted(role, NUMBERS[0])
    debug = toolbox.public_key(0x3F49F6D4A3C55F3874C9B3E3D2103F504AFF607BEB40B7995899B8A6CD3C1ABD)
    smp.receive(wire.PairingPublicKey(*debug).pack(), 0.0)
    assert failure(smp).reason == PairingReason.INVALID_PARAMETERS


def test_a_nonce_serves_once() -> None:
    """A peer with the right passkey that uses its nonce again in the next round would tell a listener its bits."""
    smp = scripted(PERIPHERAL, PairingTerms(LEVEL_SECURE, 2))
    peer = toolbox.public_key(77)
    smp.receive(wire.PairingPublicKey(*peer).pack(), 0.0)
    own = wire.parse_pdu(smp.take_pdus()[-1])
    assert isinstance(own, wire.PairingPublicKey)
    assert smp.answer(True, 0, 0.0)
    nonce = bytes(range(16))
    smp.receive(wire.PairingConfirm(toolbox.f4(peer.x, own.x, nonce, 0x80)).pack(), 0.0)
    smp.receive(wire.PairingRandom(nonce).pack(), 0.0)
    assert [pdu[0] for pdu in smp.take_pdus()] == [CONFIRM_PDU, RANDOM]
    smp.receive(wire.PairingConfirm(toolbox.f4(peer.x, own.x, nonce, 0x80)).pack(), 0.0)
    smp.receive(wire.PairingRandom(nonce).pack(), 0.0)
    assert failure(smp).reason == PairingReason.CONFIRM_VALUE_FAILED


def test_our_nonce_is_not_the_peers() -> None:
    smp = scripted(CENTRAL, PairingTerms(LEVEL_ENCRYPTED, 3))
    peer = toolbox.public_key(77)
    own = wire.parse_pdu(smp.take_pdus()[-1])
    assert isinstance(own, wire.PairingPublicKey)
    smp.receive(wire.PairingPublicKey(*peer).pack(), 0.0)
    smp.receive(wire.PairingConfirm(bytes(16)).pack(), 0.0)
    smp.receive(smp.take_pdus()[-1], 0.0)
    assert failure(smp).reason == PairingReason.CONFIRM_VALUE_FAILED


def test_each_pairing_has_its_own_key() -> None:
    pair = SmpPair(*JUST_WORKS).run()
    pair.run()
    keys = [pdu for side, pdu in pair.log if pdu[0] == PUBLIC_KEY]
    assert len(set(keys)) == 4


def test_the_check_may_come_before_the_person() -> None:
    """The central's person is faster; the peripheral holds its own check back."""
    pair = SmpPair(*NUMBERS)
    held: list[SmpPrompt] = []

    def handle(side: int, event: object) -> None:
        if side == PERIPHERAL and isinstance(event, SmpPrompt):
            held.append(event)
        elif isinstance(event, SmpAsked | SmpPrompt) or side == CENTRAL:
            SmpPair.handle(pair, side, event)  # type: ignore[arg-type]

    pair.handle = handle  # type: ignore[method-assign]
    pair.run()
    assert held
    assert [side for side, pdu in pair.log if pdu[0] == CHECK] == [CENTRAL]
    assert pair.smps[PERIPHERAL].answer(True, None, 0.0)
    pair.pump()
    assert [side for side, pdu in pair.log if pdu[0] == CHECK] == [CENTRAL, PERIPHERAL]
    assert len(pair.results()) == 2


# Out of band


@pytest.mark.parametrize("sent", [(True, True), (True, False), (False, True)])
def test_out_of_band(sent: tuple[bool, bool]) -> None:
    """``sent``: whether the central's data went out, and the peripheral's."""
    owns = (toolbox.make_oob(randomness(8)), toolbox.make_oob(randomness(9)))
    data = []
    for side in (CENTRAL, PERIPHERAL):
        other = owns[not side]
        got = sent[not side]
        data.append(
            OobData(
                peer_confirm=other.confirm if got else None, peer_random=other.random if got else None, own=owns[side]
            )
        )
    pair = SmpPair(*(PairingTerms(LEVEL_SECURE, 3, oob=each) for each in data)).run()
    one, other_result = (end.result for end in pair.results())
    assert one.authenticated
    assert one.ltk == other_result.ltk is not None
    assert CONFIRM_PDU not in [pdu[0] for _, pdu in pair.log]


@pytest.mark.parametrize("confirm_is_right", [False, True])
def test_out_of_band_data_of_another(confirm_is_right: bool) -> None:
    peer, other = toolbox.make_oob(randomness(8)), toolbox.make_oob(randomness(9))
    wrong = OobData(
        peer_confirm=(peer if confirm_is_right else other).confirm,
        peer_random=(other if confirm_is_right else peer).random,
    )
    terms = (PairingTerms(LEVEL_SECURE, 3, oob=wrong), PairingTerms(LEVEL_SECURE, 3, oob=OobData(own=peer)))
    pair = SmpPair(*terms).run()
    assert {failure.reason for failure in pair.failures()} == {PairingReason.CONFIRM_VALUE_FAILED}


def test_out_of_band_data_that_the_peer_did_not_get_from_us() -> None:
    peer = toolbox.make_oob(randomness(9))
    terms = PairingTerms(LEVEL_AUTHENTICATED, 3, oob=OobData(peer_confirm=peer.confirm, peer_random=peer.random))
    pair = SmpPair(terms, PairingTerms(LEVEL_AUTHENTICATED, 3)).run()
    assert {failure.reason for failure in pair.failures()} == {PairingReason.OOB_NOT_AVAILABLE}
