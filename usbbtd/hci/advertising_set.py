"""One advertising set of a controller: an advertisement at a time is on the air with it.

With the legacy commands a controller has one set, which has no number.
"""

from collections.abc import Callable
from typing import NamedTuple

from usbbtd.hci.activity import Activity
from usbbtd.hci.command_queue import Send
from usbbtd.hci.init import LEGACY_DATA, OWN_ADDRESS_TYPE, ControllerFacts
from usbbtd.hci.wire import commands
from usbbtd.hci.wire.commands import HciCommand

__all__ = ["AdvertisingParameters", "AdvertisingSet", "why_not_advertised"]

_INTERVALS = range(0x0020, 0x4001)  # 20 ms to 10.24 s, in units of 0.625 ms
_ALL_CHANNELS = 0b111
_ADV_IND, _ADV_SCAN_IND, _ADV_NONCONN_IND = 0, 2, 3
# Event properties of the extended commands (Vol 4, Part E, 7.8.53)
_CONNECTABLE, _SCANNABLE, _LEGACY_PDUS = 1 << 0, 1 << 1, 1 << 4
# Operations of the commands that set data, and the most octets in one of them (7.8.54)
_NEXT, _FIRST, _LAST, _WHOLE = 0, 1, 2, 3
_MAX_FRAGMENT = 251
_NO_FRAGMENTS = 1
_NO_PREFERENCE = 127

_DataCommand = type[commands.LeSetExtendedAdvertisingData] | type[commands.LeSetExtendedScanResponseData]


class AdvertisingParameters(NamedTuple):
    """Describes an advertisement. ``data`` and ``scan_response``: AD structures (Vol 3, Part C, 11)."""

    data: bytes
    interval_ms: int
    connectable: bool
    scan_response: bytes = b""

    @property
    def is_extended(self) -> bool:
        """Returns whether it is too long for the advertising PDUs that every scanner hears."""
        return max(len(self.data), len(self.scan_response)) > LEGACY_DATA

    @property
    def interval(self) -> int:
        """Returns the interval in units of 0.625 ms; one that HCI does not have becomes the next that it has."""
        return min(max(self.interval_ms * 8 // 5, _INTERVALS[0]), _INTERVALS[-1])


def why_not_advertised(parameters: AdvertisingParameters, most: int) -> str | None:
    """Returns why a controller that takes ``most`` octets of data cannot have this on the air; None if it can.

    An extended advertisement is connectable, or has a scan response, or has data: Vol 6, Part B, 4.4.2.1 knows no
    event with which a peer could do both, and a scannable one has its data in the scan response only.
    """
    longest = max(len(parameters.data), len(parameters.scan_response))
    if longest > most:
        return f"{longest} octets of advertising data, the controller takes {most}"
    if parameters.is_extended and parameters.scan_response and (parameters.connectable or parameters.data):
        return f"more than {LEGACY_DATA} octets, together with a scan response: no advertisement has both"
    return None


class AdvertisingSet(Activity[AdvertisingParameters]):
    """Has the controller advertise with one set, also after a peer has connected.

    ``refused`` gets the status when the controller refuses what was begun, ``settled`` is called when it has answered
    everything.
    """

    def __init__(
        self, handle: int, random_address: bytes, send: Send, refused: Callable[["AdvertisingSet", int], None],
        settled: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(send)
        self.handle = handle
        self.number: int | None = None  # of the advertisement whose turn it is
        self.since = 0  # how many turns had begun when this one did
        self.answerable: int | None = None  # the number of the advertisement to which peers may connect now
        self._random_address = random_address
        self._tell_refused = refused
        self._tell_settled = settled

    @property
    def is_settled(self) -> bool:
        """Returns whether the controller has answered everything: until then nothing else is begun."""
        return not self._unanswered

    @property
    def is_on(self) -> bool:
        return self._is_on

    @property
    def is_paused(self) -> bool:
        """Returns whether it waits for a connection that is created."""
        return self._initiating and not self._goes_on_beside

    @property
    def parameters(self) -> AdvertisingParameters | None:
        return self._wanted

    def take(self, number: int, parameters: AdvertisingParameters) -> None:
        """Advertises this, and no longer what it was."""
        self.number = number
        self._want(parameters)

    def release(self) -> None:
        """Advertises no longer."""
        self.number = None
        self.stop()

    def begin_anew(self) -> None:
        """Advertises again after the controller has ended it, because of a connection."""
        # Before all is answered the end was that of an earlier beginning, and a later one is under way.
        if self.is_settled and self._wanted is not None and self._wanted.connectable:
            self._is_on = False
            self._apply()

    def retry(self) -> None:
        """Advertises if the controller refused it: it may be able to do it now."""
        if not self._is_on:
            self._apply()

    def _settled(self) -> None:
        self.answerable = self.number if self._is_on and self._wanted and self._wanted.connectable else None
        self._tell_settled()

    def _refused(self, status: int) -> None:
        self._tell_refused(self, status)

    def _given_up(self, status: int) -> None:
        pass  # whoever shares out the sets tells it

    def _commands_to_begin(self, controller: ControllerFacts, wanted: AdvertisingParameters) -> list[HciCommand]:
        return self._extended(wanted) if controller.extended else self._legacy(wanted)

    def _commands_to_end(self, controller: ControllerFacts) -> list[HciCommand]:
        if controller.extended:
            # A set keeps its data, which may be of no use with the properties of the next advertisement.
            return [
                commands.LeSetExtendedAdvertisingEnable(0, 1, self.handle, 0, 0),
                commands.LeRemoveAdvertisingSet(self.handle),
            ]
        return [commands.LeSetAdvertisingEnable(0)]

    @staticmethod
    def _legacy(wanted: AdvertisingParameters) -> list[HciCommand]:
        scannable = _ADV_SCAN_IND if wanted.scan_response else _ADV_NONCONN_IND
        kind = _ADV_IND if wanted.connectable else scannable
        interval, data, response = wanted.interval, wanted.data, wanted.scan_response
        return [
            commands.LeSetAdvertisingParameters(
                interval, interval, kind, OWN_ADDRESS_TYPE, 0, bytes(6), _ALL_CHANNELS, 0
            ),
            commands.LeSetAdvertisingData(len(data), data),
            commands.LeSetScanResponseData(len(response), response),  # also none: there may be that of another
            commands.LeSetAdvertisingEnable(1),
        ]

    def _extended(self, wanted: AdvertisingParameters) -> list[HciCommand]:
        properties = _CONNECTABLE if wanted.connectable else 0
        if wanted.scan_response or (wanted.connectable and not wanted.is_extended):
            properties |= _SCANNABLE
        if not wanted.is_extended:
            properties |= _LEGACY_PDUS
        interval = wanted.interval.to_bytes(3, "little")
        made: list[HciCommand] = [
            commands.LeSetExtendedAdvertisingParameters(
                advertising_handle=self.handle,
                event_properties=properties,
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
                sid=self.handle & 0x0F,
                scan_request_notification=0,
            ),
            commands.LeSetAdvertisingSetRandomAddress(self.handle, self._random_address),
        ]
        if wanted.data or not wanted.scan_response:
            made += self._data(commands.LeSetExtendedAdvertisingData, wanted.data)
        if wanted.scan_response:
            made += self._data(commands.LeSetExtendedScanResponseData, wanted.scan_response)
        return [*made, commands.LeSetExtendedAdvertisingEnable(1, 1, self.handle, 0, 0)]

    def _data(self, command: _DataCommand, data: bytes) -> list[HciCommand]:
        """Returns the commands that set data, in as many pieces as it needs."""
        if len(data) <= _MAX_FRAGMENT:
            return [command(self.handle, _WHOLE, _NO_FRAGMENTS, len(data), data)]
        pieces = [data[start : start + _MAX_FRAGMENT] for start in range(0, len(data), _MAX_FRAGMENT)]
        operations = [_FIRST, *[_NEXT] * (len(pieces) - 2), _LAST]
        return [
            command(self.handle, operation, _NO_FRAGMENTS, len(piece), piece)
            for operation, piece in zip(operations, pieces, strict=True)
        ]
