"""Names are those of Bumble, an independent reading of the specification, as far as it has them."""

import pytest
from bumble import hci

from usbbtd import reasons


@pytest.mark.parametrize("status", reasons._HCI)
def test_names_of_hci(status):
    theirs = set(hci.HCI_Constant.error_name(status).removeprefix("HCI_").removesuffix("_ERROR").lower().split("_"))
    ours = set(reasons._HCI[status].lower().replace("bd_addr", "bd addr").split())
    assert len(theirs & ours) >= 2


def test_numbers_stand_before_names_and_alone_where_there_is_none():
    assert reasons.describe_hci(0x13) == "0x13 (remote user terminated connection)"
    assert reasons.describe_hci(0xEE) == "0xee"
    assert reasons.describe_l2cap(4, le=True) == "0x0004 (no resources available)"
    assert reasons.describe_l2cap(0xFFFF, le=False) == "0xffff"


def test_a_result_means_another_thing_on_the_other_transport():
    assert reasons.name_l2cap(6, le=False) == "invalid source CID"
    assert reasons.name_l2cap(6, le=True) == "insufficient authorization"
    assert reasons.name_l2cap(0xFF, le=True) == "result 0x00ff"
