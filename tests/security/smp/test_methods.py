"""Every cell of the table of methods, between two machines of ours."""

import pytest

from tests.security.smp.pair import SmpPair
from usbbtd.bluetooth import LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, NO_INPUT_NO_OUTPUT
from usbbtd.security.smp.methods import Method, choose
from usbbtd.security.smp.wire import AUTH_MITM, PairingReason, PairingRequest, PairingResponse
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, PairingTerms

#: Vol 3, Part H, Table 2.8, a row for each initiator: (legacy, Secure Connections), a letter for each responder.
#: -: just works; =: numeric comparison; >: the initiator shows, the responder types; <: the reverse; *: both type
TABLE = (
    ("-->->", "-->->"),
    ("-->->", "-=>-="),
    ("<<*-<", "<<*-<"),
    ("-----", "-----"),
    ("<<>->", "<=>-="),
)
PROMPTS = {
    "-": [CONSENT],
    "=": [CONFIRM, CONFIRM],
    ">": [DISPLAY, ENTER_PASSKEY],
    "<": [DISPLAY, ENTER_PASSKEY],
    "*": [ENTER_PASSKEY, ENTER_PASSKEY],
}
CELLS = [
    (initiator, responder, secure, TABLE[initiator][secure][responder])
    for initiator in range(5)
    for responder in range(5)
    for secure in (False, True)
]


@pytest.mark.parametrize(("initiator", "responder", "secure", "cell"), CELLS)
@pytest.mark.parametrize("demands", [(True, True), (True, False), (False, True)])
def test_pairs_by_the_table(
    initiator: int, responder: int, secure: bool, cell: str, demands: tuple[bool, bool]
) -> None:
    levels = [LEVEL_AUTHENTICATED if demand else LEVEL_ENCRYPTED for demand in demands]
    pair = SmpPair(
        PairingTerms(levels[0], initiator, secure_connections=secure),
        PairingTerms(levels[1], responder),
        typed=123456 if cell == "*" else None,
    ).run()
    if cell == "-":
        reasons = [failure.reason for failure in pair.failures()]
        assert reasons == [PairingReason.AUTHENTICATION_REQUIREMENTS] * 2
        responses = [pdu for side, pdu in pair.log if side and pdu[0] == 0x02]
        assert bool(responses) is not demands[1]  # it refuses before it has built its response
        return
    one, other = (end.result for end in pair.results())
    assert one.authenticated
    assert other.authenticated
    assert one.secure_connections is other.secure_connections is secure
    assert one.bonded
    assert one.key_size == 16
    assert sorted(pair.asked_for) == PROMPTS[cell]
    if secure:
        assert one.ltk == other.ltk == pair.key
        assert one.our_key is one.peer_key is None
    else:
        assert one.ltk is other.ltk is None
        assert one.our_key == other.peer_key is not None
        assert one.peer_key == other.our_key is not None
        assert one.our_key != one.peer_key
    if cell in "=":
        assert pair.shown[0] == pair.shown[1] is not None


@pytest.mark.parametrize(("initiator", "responder", "secure", "cell"), CELLS)
def test_asks_for_what_both_can_if_nobody_demands_it(initiator: int, responder: int, secure: bool, cell: str) -> None:
    """Just works is left to those that can do nothing better, and is enough then."""
    pair = SmpPair(
        PairingTerms(LEVEL_ENCRYPTED, initiator, secure_connections=secure),
        PairingTerms(LEVEL_ENCRYPTED, responder),
        typed=123456 if cell == "*" else None,
    ).run()
    assert [end.result.authenticated for end in pair.results()] == [cell != "-"] * 2
    assert sorted(pair.asked_for) == PROMPTS[cell]  # CONSENT is of the side that did not begin
    sent = {pdu[0]: bool(pdu[3] & AUTH_MITM) for _, pdu in pair.log if pdu[0] in (0x01, 0x02)}
    assert sent == {0x01: initiator != NO_INPUT_NO_OUTPUT, 0x02: responder != NO_INPUT_NO_OUTPUT}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("flags", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_takes_out_of_band_data_first(secure: bool, flags: tuple[int, int]) -> None:
    auth = 0x0D if secure else 0x05
    request = PairingRequest(4, flags[0], auth, 16, 0, 0)
    response = PairingResponse(4, flags[1], auth, 16, 0, 0)
    wanted = any(flags) if secure else all(flags)
    assert (choose(request, response).method is Method.OUT_OF_BAND) is wanted
