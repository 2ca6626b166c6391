"""What the adapter is and can do."""

from __future__ import annotations

from typing import NamedTuple

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import format_address
from usbbtd.guest.address import AddressType, address_type_name
from usbbtd.guest.connection import Connection
from usbbtd.l2capif.nodes import FEATURE_ECHO
from usbbtd.l2capif.wire import InfoResponse

_FEATURES = {
    "bredr": constants.L2CAPIF_FEATURE_BREDR,
    "le": constants.L2CAPIF_FEATURE_LE,
    "scan": constants.L2CAPIF_FEATURE_SCAN,
    "advertise": constants.L2CAPIF_FEATURE_ADVERTISE,
    "agent": constants.L2CAPIF_FEATURE_AGENT,
}


class AdapterInfo(NamedTuple):
    """Describes what the adapter is and can do.

    ``address``: that of BR/EDR. ``le_address``: the random one that LE peers see; None without LE or with an old
    backend. ``powered``: whether its controller works now. ``features``: some of "bredr", "le", "scan", "advertise",
    "agent" and "echo". ``max_channels``: this guest's limit; ``channels``: how many it has now. ``max_mtu``: in bytes.
    """

    address: str
    address_type: AddressType
    powered: bool
    features: tuple[str, ...]
    max_channels: int
    channels: int
    max_mtu: int
    le_address: str | None = None


def adapter_info(connection: Connection, response: InfoResponse) -> AdapterInfo:
    """Returns what a response to INFO says."""
    features = [name for name, bit in _FEATURES.items() if response.features & bit]
    return AdapterInfo(
        format_address(response.address),
        address_type_name(response.address_type),
        bool(response.powered),
        (*features, "echo") if FEATURE_ECHO in connection.features and "bredr" in features else tuple(features),
        response.max_channels,
        response.channels,
        response.max_mtu,
        format_address(response.le_address) if response.le_address_type else None,
    )
