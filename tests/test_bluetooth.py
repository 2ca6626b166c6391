"""Names are those of Bumble, an independent reading of the specification, as far as it has them."""

import pytest
from bumble import hci, l2cap
from bumble.l2cap import L2CAP_Connection_Response, L2CAP_Credit_Based_Connection_Response

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import (
    ADDRESS_BREDR,
    ADDRESS_LE_PUBLIC,
    ADDRESS_LE_RANDOM,
    BREDR,
    LE,
    BredrResult,
    ErrorCode,
    LeResult,
    describe_error,
    describe_result,
    parameters_are_legal,
    psm_is_legal,
    result_name,
    transport_of,
)


@pytest.mark.parametrize("code", ErrorCode)
def test_names_of_error_codes(code: ErrorCode) -> None:
    theirs = set(hci.HCI_Constant.error_name(code).removeprefix("HCI_").removesuffix("_ERROR").lower().split("_"))
    ours = set(code.text.lower().replace("bd_addr", "bd addr").split())
    assert len(theirs & ours) >= 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BredrResult, l2cap.L2CAP_Connection_Response.Result),
        (LeResult, l2cap.L2CAP_Credit_Based_Connection_Response.Result),
    ],
)
def test_names_of_results(
    ours: type[BredrResult] | type[LeResult],
    theirs: type[L2CAP_Connection_Response.Result] | type[L2CAP_Credit_Based_Connection_Response.Result],
) -> None:
    for result in ours:
        assert set(result.text.lower().replace("spsm", "psm").split()) & set(theirs(result).name.lower().split("_"))


def test_numbers_stand_before_names_and_alone_where_there_is_none() -> None:
    assert describe_error(0x13) == "0x13 (remote user terminated connection)"
    assert describe_error(0xEE) == "0xee"
    assert describe_result(LE, 4) == "0x0004 (no resources available)"
    assert describe_result(BREDR, 0xFFFF) == "0xffff"


def test_a_result_means_another_thing_on_the_other_transport() -> None:
    assert result_name(BREDR, 6) == "invalid source CID"
    assert result_name(LE, 6) == "insufficient authorization"
    assert result_name(LE, 0xFF) == "result 0x00ff"


@pytest.mark.parametrize(
    ("parameters", "legal"),
    [
        ((6, 6, 0, 10), True),
        ((6, 3200, 0, 3200), True),
        ((5, 6, 0, 10), False),
        ((8, 7, 0, 10), False),
        ((6, 3201, 0, 3200), False),
        ((6, 6, 499, 3200), True),
        ((6, 6, 500, 3200), False),
        ((6, 6, 0, 9), False),
        ((6, 6, 0, 3201), False),
        ((6, 40, 0, 10), False),  # 100 ms are two intervals of 50 ms, and no longer
        ((6, 39, 0, 10), True),
    ],
)
def test_connection_parameters(parameters: tuple[int, int, int, int], legal: bool) -> None:
    assert parameters_are_legal(*parameters) is legal


@pytest.mark.parametrize(
    ("transport", "psm", "legal"),
    [
        (BREDR, 0x0001, True), (BREDR, 0x1001, True), (BREDR, 0x10FF, True), (BREDR, 0xFEFF, True),
        (BREDR, 0x0000, False), (BREDR, 0x1000, False), (BREDR, 0x1101, False), (BREDR, 0x0101, False),
        (BREDR, 0x20001, False), (BREDR, -1, False),
        (LE, 0x0001, True), (LE, 0x0080, True), (LE, 0x00FF, True), (LE, 0x0000, False), (LE, 0x0100, False),
    ],
)  # fmt: skip
def test_psms(transport: int, psm: int, legal: bool) -> None:
    assert psm_is_legal(transport, psm) is legal


def test_the_header_has_the_same_numbers() -> None:
    assert (constants.L2CAPIF_TRANSPORT_BREDR, constants.L2CAPIF_TRANSPORT_LE) == (BREDR, LE)
    types = constants.L2CAPIF_ADDR_BREDR, constants.L2CAPIF_ADDR_LE_PUBLIC, constants.L2CAPIF_ADDR_LE_RANDOM
    assert types == (ADDRESS_BREDR, ADDRESS_LE_PUBLIC, ADDRESS_LE_RANDOM)
    assert [transport_of(address_type) for address_type in types] == [BREDR, LE, LE]
