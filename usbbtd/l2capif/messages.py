"""Packs and unpacks the messages of the data rings of scans and agents, as l2capif.h has them.

Those of channels are SDUs, which have no form of their own. Addresses are 6 octets, least significant first.
"""

from typing import Final, NamedTuple

from usbbtd.abi.layout import constants, record
from usbbtd.errors import LocalProtocolError, RemoteProtocolError

LAST_PASSKEY: Final = 999_999  # Vol 3, Part H, 2.3.5.3

WITHDRAWN: int = constants.L2CAPIF_PROMPT_WITHDRAWN
ENTER_PASSKEY: int = constants.L2CAPIF_PROMPT_ENTER_PASSKEY
ENTER_PIN: int = constants.L2CAPIF_PROMPT_ENTER_PIN

_SCAN_REPORT = record("struct l2capif_scan_report")
_SCAN_REPORT_HEADER_SIZE = _SCAN_REPORT.size - constants.L2CAPIF_ADVERTISE_DATA_SIZE
_REPORT = record("struct l2capif_report")
_REPORT_HEADER_SIZE = _REPORT.size - constants.L2CAPIF_EXTENDED_DATA_SIZE
_PROMPT = record("struct l2capif_prompt")
_ANSWER = record("struct l2capif_answer")


class ScanReport(NamedTuple):
    """A message of a scan that is not extended. ``rssi``: in dBm, 127 if not known. ``event_type``: as in HCI."""

    address: bytes
    address_type: int
    rssi: int
    event_type: int
    data: bytes


class ExtendedReport(NamedTuple):
    """A message of an extended scan. ``source``: L2CAPIF_REPORT_*, which says what the ``data`` are.

    ``event_type``: as in ScanReport, 0 on BR/EDR. ``class_of_device``: 0 on LE.
    """

    address: bytes
    address_type: int
    source: int
    event_type: int
    rssi: int
    class_of_device: int
    data: bytes


class PromptMessage(NamedTuple):
    """A message to an agent. ``kind``: L2CAPIF_PROMPT_*. ``why``: L2CAPIF_WHY_*, if the prompt was withdrawn."""

    number: int
    kind: int
    address: bytes
    address_type: int
    value: int = 0
    timeout_ms: int = 0
    why: int = 0

    def __repr__(self) -> str:
        return f"PromptMessage({self.number}, kind={self.kind}, why={self.why}, ...)"  # without the passkey


class AnswerMessage(NamedTuple):
    """A message of an agent. ``value``: a passkey. ``pin``: up to 16 octets."""

    number: int
    accept: bool
    value: int = 0
    pin: bytes = b""

    def __repr__(self) -> str:
        return f"AnswerMessage({self.number}, {self.accept}, ...)"  # without what was entered


def pack_report(report: ScanReport) -> bytes:
    """Returns the message of a report. Raises LocalProtocolError if the data are longer than 31 octets."""
    *head, data = report
    if len(data) > constants.L2CAPIF_ADVERTISE_DATA_SIZE:
        raise LocalProtocolError(f"{len(data)} octets of advertising data")
    return _SCAN_REPORT.pack(*head, len(data), data)[: _SCAN_REPORT_HEADER_SIZE + len(data)]


def unpack_report(untrusted: bytes) -> ScanReport:
    """Returns the report in a message. Raises RemoteProtocolError if it is malformed."""
    data_length = len(untrusted) - _SCAN_REPORT_HEADER_SIZE
    if not 0 <= data_length <= constants.L2CAPIF_ADVERTISE_DATA_SIZE:
        raise RemoteProtocolError(f"a scan report of {len(untrusted)} octets")
    whole = untrusted.ljust(_SCAN_REPORT.size, b"\0")
    address, address_type, rssi, event_type, untrusted_length, data = _SCAN_REPORT.unpack(whole)
    if untrusted_length != data_length or address_type > constants.L2CAPIF_ADDR_LE_RANDOM:
        raise RemoteProtocolError(f"a malformed scan report: {untrusted.hex()}")
    return ScanReport(address, address_type, rssi, event_type, data[:data_length])


def pack_extended_report(report: ExtendedReport) -> bytes:
    """Returns the message of a report. Raises LocalProtocolError if the data are longer than 1650 octets."""
    address, address_type, source, event_type, rssi, class_of_device, data = report
    if len(data) > constants.L2CAPIF_EXTENDED_DATA_SIZE:
        raise LocalProtocolError(f"{len(data)} octets in a report")
    device = class_of_device.to_bytes(3, "little")
    packed = _REPORT.pack(address, address_type, source, event_type, len(data), rssi, device, data)
    return packed[: _REPORT_HEADER_SIZE + len(data)]


def unpack_extended_report(untrusted: bytes) -> ExtendedReport:
    """Returns the report in a message. Raises RemoteProtocolError if it is malformed."""
    data_length = len(untrusted) - _REPORT_HEADER_SIZE
    if not 0 <= data_length <= constants.L2CAPIF_EXTENDED_DATA_SIZE:
        raise RemoteProtocolError(f"a report of {len(untrusted)} octets")
    whole = untrusted.ljust(_REPORT.size, b"\0")
    address, address_type, source, event_type, untrusted_length, rssi, device, data = _REPORT.unpack(whole)
    types_fit = address_type <= constants.L2CAPIF_ADDR_LE_RANDOM and source <= constants.L2CAPIF_REPORT_NAME
    if untrusted_length != data_length or not types_fit:
        raise RemoteProtocolError(f"a malformed report: {untrusted.hex()}")
    class_of_device = int.from_bytes(device, "little")
    return ExtendedReport(address, address_type, source, event_type, rssi, class_of_device, data[:data_length])


def pack_prompt(prompt: PromptMessage) -> bytes:
    """Returns the message of a prompt."""
    number, kind, address, address_type, value, timeout_ms, why = prompt
    return _PROMPT.pack(number, value, timeout_ms, address, address_type, kind, why)


def unpack_prompt(untrusted: bytes) -> PromptMessage:
    """Returns the prompt in a message. Raises RemoteProtocolError if it is malformed."""
    if len(untrusted) != _PROMPT.size:
        raise RemoteProtocolError(f"a prompt of {len(untrusted)} octets")
    number, value, timeout_ms, address, address_type, kind, why = _PROMPT.unpack(untrusted)
    if number == 0 or kind > ENTER_PIN or value > LAST_PASSKEY or address_type > constants.L2CAPIF_ADDR_LE_RANDOM:
        raise RemoteProtocolError(f"a malformed prompt: {untrusted.hex()}")
    return PromptMessage(number, kind, address, address_type, value, timeout_ms, why)


def pack_answer(answer: AnswerMessage) -> bytes:
    """Returns the message of an answer. Raises LocalProtocolError if the PIN is longer than 16 octets."""
    number, accept, value, pin = answer
    if len(pin) > constants.L2CAPIF_PIN_SIZE:
        raise LocalProtocolError(f"a PIN of {len(pin)} octets")
    return _ANSWER.pack(number, value, accept, len(pin), pin)


def unpack_answer(untrusted: bytes) -> AnswerMessage:
    """Returns the answer in a message. Raises RemoteProtocolError, which does not quote it, if it is malformed.

    Whether it fits a prompt is another question.
    """
    if len(untrusted) != _ANSWER.size:
        raise RemoteProtocolError(f"an answer of {len(untrusted)} octets")
    fields = _ANSWER.unpack(untrusted)
    number, value, accept, pin_length, pin = fields
    if _ANSWER.pack(*fields) != untrusted or accept > 1 or pin_length > len(pin) or any(pin[pin_length:]):
        raise RemoteProtocolError("a malformed answer")
    return AnswerMessage(number, bool(accept), value, pin[:pin_length])
