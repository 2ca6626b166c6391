"""How a simulated controller finds others on BR/EDR, and lets itself be found: Vol 4, Part E, 7.1.1 and 7.3."""

import asyncio
from typing import Any

from bumble import hci

from tests.sim.commands import Commands

RSSI = -50  # dBm
_INQUIRY_SCAN = 1  # in Scan_Enable: Vol 4, Part E, 7.3.18
_GENERAL_LAP = b"\x33\x8b\x9e"
_EIR_SIZE = 240
_SUCCESS, _DISALLOWED, _INVALID_PARAMETERS = 0x00, 0x0C, 0x12
_LENGTHS = range(1, 0x31)
#: Inquiry modes, 7.3.50: a plain result, one with RSSI, an extended one.
_PLAIN, _WITH_RSSI, _EXTENDED = b"\x00", b"\x01", b"\x02"
_MODE, _EIR, _CLASS, _LAPS = (
    hci.HCI_WRITE_INQUIRY_MODE_COMMAND,
    hci.HCI_WRITE_EXTENDED_INQUIRY_RESPONSE_COMMAND,
    hci.HCI_WRITE_CLASS_OF_DEVICE_COMMAND,
    hci.HCI_WRITE_CURRENT_IAC_LAP_COMMAND,
)
#: Settings: the command that writes one, that which reads it, and what it is at first.
_SETTINGS = (
    (_MODE, hci.HCI_READ_INQUIRY_MODE_COMMAND, _PLAIN),
    (_EIR, hci.HCI_READ_EXTENDED_INQUIRY_RESPONSE_COMMAND, bytes(1 + _EIR_SIZE)),  # FEC_Required before it
    (_CLASS, hci.HCI_READ_CLASS_OF_DEVICE_COMMAND, bytes(3)),
    (_LAPS, hci.HCI_READ_CURRENT_IAC_LAP_COMMAND, b"\x01" + _GENERAL_LAP),
    (hci.HCI_WRITE_INQUIRY_SCAN_ACTIVITY_COMMAND, hci.HCI_READ_INQUIRY_SCAN_ACTIVITY_COMMAND, b"\x00\x10\x12\x00"),
    (hci.HCI_WRITE_INQUIRY_SCAN_TYPE_COMMAND, hci.HCI_READ_INQUIRY_SCAN_TYPE_COMMAND, b"\x00"),
    (hci.HCI_WRITE_PAGE_SCAN_ACTIVITY_COMMAND, hci.HCI_READ_PAGE_SCAN_ACTIVITY_COMMAND, b"\x00\x08\x12\x00"),
    (hci.HCI_WRITE_PAGE_SCAN_TYPE_COMMAND, hci.HCI_READ_PAGE_SCAN_TYPE_COMMAND, b"\x00"),
)


class Inquiry:
    """Of one controller; those that it finds have theirs. What is found is told once an inquiry.

    ``unit_s``: seconds of a unit of Inquiry_Length. ``period_s``: of looking around.
    """

    def __init__(self, controller: Any, commands: Commands) -> None:
        self.unit_s, self.period_s = 1.28, 0.02
        self._controller = controller
        self._settings = commands.settings
        self._inquiring: asyncio.Task[None] | None = None
        controller.inquiry = self
        for setting in _SETTINGS:
            commands.keep(*setting)
        commands.at_reset(self._stop)
        commands.begin({hci.HCI_INQUIRY_COMMAND: self._inquire})
        commands.complete({
            hci.HCI_INQUIRY_CANCEL_COMMAND: self._cancel,
            hci.HCI_READ_NUMBER_OF_SUPPORTED_IAC_COMMAND: lambda _: b"\x00\x01",
        })  # fmt: skip

    def hears(self, lap: bytes) -> bool:
        """Returns whether it answers inquiries for this access code."""
        laps = self._settings[_LAPS][1:]
        scans = self._controller.classic_scan_enable & _INQUIRY_SCAN
        return bool(scans) and lap in [laps[at : at + 3] for at in range(0, len(laps), 3)]

    def _inquire(self, command: Any) -> int:
        if self._inquiring is not None:
            return _DISALLOWED
        if command.inquiry_length not in _LENGTHS:
            return _INVALID_PARAMETERS
        lap = int(command.lap).to_bytes(3, "little")
        length_s = command.inquiry_length * self.unit_s
        self._inquiring = asyncio.get_running_loop().create_task(self._look(lap, length_s, command.num_responses))
        return _SUCCESS

    async def _look(self, lap: bytes, length_s: float, most: int) -> None:
        """``most``: how many devices it may tell of; 0: any number."""
        found: set[Any] = set()
        try:
            async with asyncio.timeout(length_s):
                while not most or len(found) < most:
                    for peer in self._controller.link.controllers - found - {self._controller}:
                        if peer.inquiry.hears(lap) and not (most and len(found) >= most):
                            found.add(peer)
                            self._tell(peer)
                    await asyncio.sleep(self.period_s)
        except TimeoutError:
            pass
        self._inquiring = None
        self._controller.send_hci_packet(hci.HCI_Inquiry_Complete_Event(status=_SUCCESS))

    def _tell(self, peer: Any) -> None:
        mode, settings = self._settings[_MODE], peer.inquiry._settings
        head = b"\x01" + bytes(peer.public_address) + b"\x01"  # one response, page scan repetition mode R1
        described = settings[_CLASS] + bytes(2)  # and the clock offset
        rssi = RSSI.to_bytes(1, "little", signed=True)
        response = settings[_EIR][1:]
        if mode == _EXTENDED and any(response):
            code, parameters = hci.HCI_EXTENDED_INQUIRY_RESULT_EVENT, head + bytes(1) + described + rssi + response
        elif mode == _PLAIN:
            code, parameters = hci.HCI_INQUIRY_RESULT_EVENT, head + bytes(2) + described
        else:
            code, parameters = hci.HCI_INQUIRY_RESULT_WITH_RSSI_EVENT, head + bytes(1) + described + rssi
        self._controller.send_hci_packet(hci.HCI_Event(parameters, event_code=code))

    def _cancel(self, _: Any) -> bytes:
        if self._inquiring is None:
            return bytes((_DISALLOWED,))
        self._stop()
        return bytes((_SUCCESS,))

    def _stop(self) -> None:
        if self._inquiring is not None:
            self._inquiring.cancel()
            self._inquiring = None
