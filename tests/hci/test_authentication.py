from typing import Any

import pytest

from usbbtd.hci.authentication import REFUSALS
from usbbtd.hci.wire import events as incoming
from usbbtd.packets import Packet

ADDRESS = b"abcdef"


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (incoming.PinCodeRequest(ADDRESS), "0e0406" + ADDRESS.hex()),
        (incoming.LinkKeyRequest(ADDRESS), "0c0406" + ADDRESS.hex()),
        (incoming.IoCapabilityRequest(ADDRESS), "340407" + ADDRESS.hex() + "18"),
        (incoming.UserConfirmationRequest(ADDRESS, 123456), "2d0406" + ADDRESS.hex()),
        (incoming.UserPasskeyRequest(ADDRESS), "2f0406" + ADDRESS.hex()),
        (incoming.RemoteOobDataRequest(ADDRESS), "330406" + ADDRESS.hex()),
        (incoming.LeLongTermKeyRequest(0x0042, 0, 0), "1b20024200"),
    ],
)
def test_no_to_everything(request_: Packet, command: str) -> None:
    """Opcodes and layouts of Vol 4, Part E, 7.1.11, 7.1.13, 7.1.30, 7.1.32, 7.1.35, 7.1.36 and 7.8.26."""
    assert REFUSALS[type(request_)](request_).pack().hex() == command


def test_a_controller_asks_and_is_answered(scripted: Any) -> None:
    controller = scripted().up()
    controller.event(incoming.LinkKeyRequest.CODE, ADDRESS)
    controller.event(incoming.IoCapabilityRequest.CODE, ADDRESS)
    assert controller.take() == [(0x040C, ADDRESS), (0x0434, ADDRESS + b"\x18")]
