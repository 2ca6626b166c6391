"""Advertises on LE, with one set."""

from collections.abc import Callable
from typing import NamedTuple

from usbbtd.errors import LocalProtocolError
from usbbtd.hci.activity import Activity
from usbbtd.hci.command_queue import Send
from usbbtd.hci.events import AdvertisingStopped, Event
from usbbtd.hci.init import OWN_ADDRESS_TYPE, ControllerFacts
from usbbtd.hci.wire import commands
from usbbtd.hci.wire.commands import HciCommand

__all__ = ["Advertising"]

#: The most octets of data that the legacy commands take.
MAX_DATA = 31

_INTERVALS = range(0x0020, 0x4001)  # 20 ms to 10.24 s
_ALL_CHANNELS = 0b111
_SET = 0  # the one advertising set of the extended commands
_ADV_IND, _ADV_NONCONN_IND = 0, 3
_EXTENDED_ADV_IND, _EXTENDED_ADV_NONCONN_IND = 0x13, 0x10  # legacy PDUs by the extended commands (7.8.53)
_WHOLE_DATA, _NO_FRAGMENTS = 3, 1
_NO_PREFERENCE = 127


class AdvertisingParameters(NamedTuple):
    data: bytes
    interval: int  # 0.625 ms
    connectable: bool


class Advertising(Activity[AdvertisingParameters]):
    """Advertises with one controller, also after a peer has connected."""

    def __init__(self, random_address: bytes, send: Send, emit: Callable[[Event], None]) -> None:
        super().__init__(send, emit, AdvertisingStopped)
        self._random_address = random_address
        self._links = 0

    def start(self, data: bytes, *, interval_ms: int, connectable: bool) -> None:
        """Starts to advertise, or changes it. Raises LocalProtocolError if there are more than 31 octets of data."""
        if len(data) > MAX_DATA:
            raise LocalProtocolError(f"{len(data)} octets of advertising data, {MAX_DATA} is the most")
        interval = min(max(interval_ms * 8 // 5, _INTERVALS[0]), _INTERVALS[-1])
        self._want(AdvertisingParameters(data, interval, connectable))

    def link_up(self, role: int) -> None:
        self._links += 1
        if role and self._wanted is not None and self._wanted.connectable:
            self._is_on = False  # the controller ended it with the connection
            self._apply()

    def link_down(self) -> None:
        self._links -= 1
        if not self._is_on:  # the controller may be able to do it now
            self._apply()

    def controller_down(self) -> None:
        super().controller_down()
        self._links = 0

    def _refused(self, status: int) -> None:
        if not self._links:  # else it is tried again when a link ends: some controllers cannot do both
            self._give_up(status)

    def _commands_to_begin(self, controller: ControllerFacts, wanted: AdvertisingParameters) -> list[HciCommand]:
        return self._extended(wanted) if controller.extended else self._legacy(wanted)

    def _command_to_end(self, controller: ControllerFacts) -> HciCommand:
        if controller.extended:
            return commands.LeSetExtendedAdvertisingEnable(0, 1, _SET, 0, 0)
        return commands.LeSetAdvertisingEnable(0)

    @staticmethod
    def _legacy(wanted: AdvertisingParameters) -> list[HciCommand]:
        kind = _ADV_IND if wanted.connectable else _ADV_NONCONN_IND
        return [
            commands.LeSetAdvertisingParameters(
                wanted.interval, wanted.interval, kind, OWN_ADDRESS_TYPE, 0, bytes(6), _ALL_CHANNELS, 0
            ),
            commands.LeSetAdvertisingData(len(wanted.data), wanted.data),
            commands.LeSetAdvertisingEnable(1),
        ]

    def _extended(self, wanted: AdvertisingParameters) -> list[HciCommand]:
        kind = _EXTENDED_ADV_IND if wanted.connectable else _EXTENDED_ADV_NONCONN_IND
        interval = wanted.interval.to_bytes(3, "little")
        return [
            commands.LeSetExtendedAdvertisingParameters(
                advertising_handle=_SET,
                event_properties=kind,
                interval_min=interval,
                interval_max=interval,
                channel_map=_ALL_CHANNELS,
                own_address_type=OWN_ADDRESS_TYPE,
                peer_address_type=0,
                peer_address=bytes(6),
                filter_policy=0,
                tx_power=_NO_PREFERENCE,
                primary_phy=commands.LE_1M_PHY,
                secondary_max_skip=0,
                secondary_phy=commands.LE_1M_PHY,
                sid=0,
                scan_request_notification=0,
            ),
            commands.LeSetAdvertisingSetRandomAddress(_SET, self._random_address),
            commands.LeSetExtendedAdvertisingData(_SET, _WHOLE_DATA, _NO_FRAGMENTS, len(wanted.data), wanted.data),
            commands.LeSetExtendedAdvertisingEnable(1, 1, _SET, 0, 0),
        ]
