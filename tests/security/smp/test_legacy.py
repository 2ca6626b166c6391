"""Legacy pairing against peers and people that do not do what they should."""

import pytest

from tests.security.smp.pair import CENTRAL_ADDRESS, PERIPHERAL_ADDRESS, SmpPair, randomness
from usbbtd.bluetooth import CENTRAL, LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, PERIPHERAL
from usbbtd.security import toolbox
from usbbtd.security.smp import wire
from usbbtd.security.smp.events import SmpFailed
from usbbtd.security.smp.machine import Smp
from usbbtd.security.smp.wire import PairingReason
from usbbtd.security.terms import DISPLAY, ENTER_PASSKEY, OobData, PairingTerms

SHOWS = PairingTerms(LEVEL_AUTHENTICATED, 0, secure_connections=False)
TYPES = PairingTerms(LEVEL_AUTHENTICATED, 2, secure_connections=False)
PLAIN = PairingTerms(LEVEL_ENCRYPTED, 3, secure_connections=False)


@pytest.mark.parametrize("by", [CENTRAL, PERIPHERAL])
@pytest.mark.parametrize("code", [0x03, 0x04])
def test_no_bit_of_a_value_may_turn(by: int, code: int) -> None:
    pair = SmpPair(PLAIN, PLAIN)
    pair.tamper = lambda side, pdu: pdu[:-1] + bytes((pdu[-1] ^ 1,)) if side == by and pdu[0] == code else pdu
    pair.run()
    assert [failure.reason for failure in pair.failures()] == [PairingReason.CONFIRM_VALUE_FAILED] * 2
    assert pair.key is None


@pytest.mark.parametrize("terms", [(SHOWS, TYPES), (TYPES, SHOWS)])
def test_a_wrong_passkey_fails(terms: tuple[PairingTerms, PairingTerms]) -> None:
    pair = SmpPair(*terms, typed=1).run()
    assert 1 not in pair.shown
    assert {failure.reason for failure in pair.failures()} == {PairingReason.CONFIRM_VALUE_FAILED}


def test_the_temporary_key_comes_out_of_band() -> None:
    oob = OobData(temporary_key=bytes(range(16)))
    pair = SmpPair(*(PairingTerms(LEVEL_AUTHENTICATED, 3, oob=oob) for _ in range(2))).run()
    one, other = (end.result for end in pair.results())
    assert one.authenticated
    assert not one.secure_connections  # whoever has legacy data only cannot use the other
    assert one.peer_key == other.our_key is not None
    other_oob = OobData(temporary_key=bytes(16))
    terms = [PairingTerms(LEVEL_AUTHENTICATED, 3, oob=each) for each in (oob, other_oob)]
    assert {failure.reason for failure in SmpPair(*terms).run().failures()} == {PairingReason.CONFIRM_VALUE_FAILED}


@pytest.mark.parametrize("size", [7, 11, 16])
def test_keys_are_as_short_as_was_agreed(size: int) -> None:
    pair = SmpPair(PLAIN, PLAIN)
    # c1 covers both PDUs: a peer that knows no more is one that says so itself, so both have to see the same
    requests: list[bytes] = []

    def tamper(side: int, pdu: bytes) -> bytes:
        if pdu[0] == 0x02:
            exchange = pair.smps[PERIPHERAL]._pairing
            assert exchange is not None
            short = pdu[:4] + bytes((size,)) + pdu[5:]
            exchange.exchange.response = wire.PairingResponse.parse(short[1:])
            requests.append(short)
            return short
        if pdu[0] == 0x06:  # from a peer that does not shorten what it gives
            return pdu[: size + 1] + b"\xff" * (16 - size)
        return pdu

    pair.tamper = tamper
    pair.run()
    one, other = (end.result for end in pair.results())
    assert requests
    assert one.key_size == other.key_size == size
    assert pair.key is not None
    for key in (one.peer_key, one.our_key):
        assert key is not None
        assert not any(key.ltk[size:])
        assert any(key.ltk[:size])
    assert not any(pair.key[size:])


def central(terms: PairingTerms, io_capability: int) -> Smp:
    smp = Smp(CENTRAL, CENTRAL_ADDRESS, PERIPHERAL_ADDRESS, randomness(3))
    smp.start(terms, 0.0)
    smp.receive(wire.PairingResponse(io_capability, 0, 0x05, 16, 0, 0).pack(), 0.0)
    return smp


def test_a_reflection_is_refused() -> None:
    """A peer that sends our values back would else learn the passkey from them."""
    smp = central(SHOWS, 2)
    (_, confirm) = smp.take_pdus()
    smp.receive(confirm, 0.0)
    assert smp.take_pdus() == [wire.PairingFailed(PairingReason.CONFIRM_VALUE_FAILED).pack()]
    assert isinstance(smp.take_events()[-1], SmpFailed)


def test_the_peer_may_be_faster_than_the_person() -> None:
    smp = Smp(PERIPHERAL, PERIPHERAL_ADDRESS, CENTRAL_ADDRESS, randomness(3))
    request = wire.PairingRequest(0, 0, 0x05, 16, 0, 0)
    smp.receive(request.pack(), 0.0)
    smp.accept(TYPES, 0.0)
    (response,) = smp.take_pdus()
    nonce = bytes(range(16))
    sides = (CENTRAL_ADDRESS[1] - 1, CENTRAL_ADDRESS[0]), (PERIPHERAL_ADDRESS[1] - 1, PERIPHERAL_ADDRESS[0])
    passkey = (123456).to_bytes(16, "little")
    smp.receive(wire.PairingConfirm(toolbox.c1(passkey, nonce, request.pack(), response, *sides)).pack(), 0.0)
    assert smp.take_pdus() == []
    assert smp.answer(True, 123456, 0.0)
    assert [pdu[0] for pdu in smp.take_pdus()] == [0x03]
    smp.receive(wire.PairingRandom(nonce).pack(), 0.0)
    assert [pdu[0] for pdu in smp.take_pdus()] == [0x04]
    assert smp.long_term_key(0, 0) is not None


def test_who_shows_and_who_types() -> None:
    pair = SmpPair(SHOWS, TYPES).run()
    assert sorted(pair.asked_for) == [DISPLAY, ENTER_PASSKEY]
    assert len(pair.results()) == 2
    assert pair.shown[PERIPHERAL] is None
