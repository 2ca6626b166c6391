"""A program's adapter whose backend, radio and remote device are in its process: rings in memory, a virtual air.

Who uses it imports the fixtures ``xen``, ``guest`` and ``api``.
"""

import pytest
from bumble.pairing import PairingConfig, PairingDelegate

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_connection import Guest
from tests.support import air
from tests.support.pairing import Notes, RemoteUser
from usbbtd.guest import Adapter, AddressType

xen, guest = connection.xen, connection.guest
TYPES: list[AddressType] = ["bredr", "random"]


@pytest.fixture
async def api(guest: Guest, dongle: air.DirectDongle) -> Adapter:
    """The adapter of a guest that policy lets do everything."""
    made = Adapter(guest.xen, 0)
    made._receive_connection(guest.connection)
    await made.wait_ready(air.TIME_LIMIT_S)
    return made


def user_of(peer: air.Remote, can: int, *, mitm: bool = True, notes: Notes | None = None) -> RemoteUser:
    """Who is at the remote device, which pairs from now on."""
    user = RemoteUser(PairingDelegate.IoCapability(can), notes or Notes())
    configuration = PairingConfig(mitm=mitm, delegate=user)
    peer.device.pairing_config_factory = lambda _: configuration
    return user
