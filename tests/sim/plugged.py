"""A bus that takes no time: a simulated dongle, plugged into the program that drives it."""

import asyncio

from tests.sim.dongle import ACL_IN, ACL_OUT, EVENT_PACKET_SIZE, EVENTS_IN, PRODUCT_ID, VENDOR_ID, SimulatedDongle
from tests.sim.shim import Shim
from tests.sim.virtual_air import AirController, VirtualAir
from usbbtd.dongles.usb_dongle import TransferReceiver

_SET_CONFIGURATION = bytes.fromhex("0009010000000000")
#: Octets of a request for bulk data: a multiple of the endpoint's packets.
_BULK_SIZE = 1024


async def plug(air: VirtualAir, shim: Shim | None = None, *, serial: str = "0001") -> "PluggedDongle":
    """Returns a dongle with a controller of its own, and the shim between them."""
    device = SimulatedDongle(serial=serial)
    controller = await air.new_controller(device.receive_packet if shim is None else shim.receive)
    device.send_packet = controller.send
    if shim is not None:
        shim.put_between(device, controller)
    return PluggedDongle(device, controller, serial)


class PluggedDongle:
    """Implements ``UsbDongle``."""

    vendor_id, product_id = VENDOR_ID, PRODUCT_ID

    def __init__(self, device: SimulatedDongle, controller: AirController, serial: str) -> None:
        self.name = f"plugged {serial}"
        self.serial = serial
        self._device = device
        self._controller = controller
        self._receiver: TransferReceiver | None = None
        self._scheduled = False
        device.control(_SET_CONFIGURATION, b"")

    def start(self, receiver: TransferReceiver) -> None:
        self._receiver = receiver
        self._device.wake = self._schedule
        self._schedule()

    def send_control(self, setup: bytes, data: bytes) -> None:
        self._device.control(setup, data)

    def send_bulk(self, transfers: list[bytes]) -> int:
        for transfer in transfers:
            self._device.receive_data(ACL_OUT, transfer)
        return len(transfers)

    def close(self) -> None:
        if self._receiver is not None:
            self._receiver = None
            self._device.unplugged()
            self._controller.close()

    def unplug(self, reason: str = "unplugged") -> None:
        """As somebody who pulls it out."""
        receiver = self._receiver
        self.close()
        if receiver is not None:
            receiver.dongle_lost(reason)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        if self._receiver is None:
            return
        events, acl = self._take(EVENTS_IN, EVENT_PACKET_SIZE), self._take(ACL_IN, _BULK_SIZE)
        if events or acl:
            self._receiver.receive(events, acl)

    def _take(self, endpoint: int, size: int) -> list[bytes]:
        transfers = []
        while (transfer := self._device.take_transfer(endpoint, size)) is not None:
            transfers.append(transfer[1])
        return transfers
