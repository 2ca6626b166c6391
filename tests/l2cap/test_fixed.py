"""Bytes by hand from Vol 3, Part F, 3.4 and Vol 3, Part H, 3.5."""

import pytest

from usbbtd.bluetooth import BREDR, LE
from usbbtd.l2cap.fixed import answer


@pytest.mark.parametrize(
    ("transport", "cid", "payload", "answered"),
    [
        pytest.param(LE, 4, "02 1700", "01 02 0000 06", id="att_exchange_mtu"),
        pytest.param(LE, 4, "10 0100 ffff 0028", "01 10 0000 06", id="att_read_by_group_type"),
        pytest.param(LE, 4, "52 0100 00", None, id="att_write_command"),
        pytest.param(LE, 4, "1b 0100 00", None, id="att_notification"),
        pytest.param(LE, 4, "01 02 0000 06", None, id="att_error_is_not_answered"),
        pytest.param(LE, 4, "1e", None, id="att_confirmation"),
        pytest.param(LE, 4, "00", None, id="att_reserved"),
        pytest.param(LE, 4, "", None, id="att_empty"),
        pytest.param(LE, 6, "01 03 00 01 10 07 07", "05 05", id="smp_pairing_request"),
        pytest.param(LE, 6, "0b 01", "05 05", id="smp_security_request"),
        pytest.param(LE, 6, "05 08", None, id="smp_pairing_failed_is_not_answered"),
        pytest.param(BREDR, 7, "01 03 00 01 10 07 07", "05 05", id="smp_over_bredr"),
    ],
)
def test_answers(transport: int, cid: int, payload: str, answered: str | None) -> None:
    octets = bytes.fromhex(payload)
    pdu = answer(transport, cid, len(octets).to_bytes(2, "little") + cid.to_bytes(2, "little") + octets)
    if answered is None:
        assert pdu is None
    else:
        expected = bytes.fromhex(answered)
        assert pdu == len(expected).to_bytes(2, "little") + cid.to_bytes(2, "little") + expected
