"""Listeners of guests; peers that come to them are in test_connection.py."""

import pytest

from tests.support import air
from usbbtd.backends.vl2cap.listeners import GuestListener
from usbbtd.radio.errors import InUse


async def test_a_listener_holds_its_psm_until_it_is_closed(adapter):
    listener = GuestListener(adapter, air.LE, 0x80, offered=[].append, failed=[].append)
    with pytest.raises(InUse):
        GuestListener(adapter, air.LE, 0x80, offered=[].append, failed=[].append)
    listener.close()
    listener.close()
    GuestListener(adapter, air.LE, 0x80, offered=[].append, failed=[].append)
