"""How a simulated controller advertises and scans with the legacy commands: Vol 4, Part E, 7.8.5 to 7.8.11.

Bumble's controller has one kind of advertisement on the air, and reports its data again as the scan response.
"""

from dataclasses import dataclass
from typing import Any

from bumble import hci, ll

RSSI = -50  # dBm
#: Kinds of advertising (7.8.5), which are those of reports, too (7.7.65.2); and the scan response there.
CONNECTABLE, SCANNABLE, NON_CONNECTABLE = 0x00, 0x02, 0x03
SCAN_RESPONSE = 0x04
_ACTIVE = 1  # scan type, 7.8.10


@dataclass
class Advertisement(ll.AdvInd):  # type: ignore[misc]  # Bumble is not typed
    """What is on the air of an advertisement. ``kind``: see above. ``scan_response``: what who asks is answered."""

    kind: int
    scan_response: bytes


class Advertising:
    """Of one controller."""

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        self._see = controller.on_advertising_pdu
        controller.on_advertising_pdu = self._hear
        controller.le_legacy_advertiser.send_advertising_data = self._send

    def _send(self) -> None:
        advertiser = self._controller.le_legacy_advertiser
        kind = advertiser.advertising_type
        if advertiser.enabled and kind in (CONNECTABLE, SCANNABLE, NON_CONNECTABLE):
            response = bytes(advertiser.scan_response_data)
            data = bytes(advertiser.advertising_data)
            self._controller.send_advertising_pdu(Advertisement(advertiser.address, data, kind, response))

    def _hear(self, advertisement: Any) -> None:
        controller = self._controller
        if not isinstance(advertisement, Advertisement):
            self._see(advertisement)
            return
        if controller.le_scan_enable:
            self._report(advertisement, advertisement.kind, advertisement.data)
            if controller.le_scan_type == _ACTIVE and advertisement.kind != NON_CONNECTABLE:
                self._report(advertisement, SCAN_RESPONSE, advertisement.scan_response)
        pending = controller.pending_le_connection
        address = advertisement.advertiser_address
        if pending is not None and advertisement.kind == CONNECTABLE and pending.peer_address == address:
            controller.create_le_connection(address)

    def _report(self, advertisement: Advertisement, kind: int, data: bytes) -> None:
        address = advertisement.advertiser_address
        report = hci.HCI_LE_Advertising_Report_Event.Report(
            event_type=kind, address_type=address.address_type, address=address, data=data, rssi=RSSI
        )
        self._controller.send_hci_packet(hci.HCI_LE_Advertising_Report_Event([report]))
