"""What is in the results of an inquiry (Vol 4, Part E, 7.7.2, 7.7.33 and 7.7.38)."""

import struct
from typing import NamedTuple

from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.wire.events import ExtendedInquiryResult, InquiryResult, InquiryResultWithRssi

__all__ = ["NO_RSSI", "InquiryResponse", "inquiry_responses"]

#: Tells that the strength of a signal is not known, as in reports of LE.
NO_RSSI = 127

# Address, page scan repetition mode, reserved, class of device, clock offset; then RSSI and the extended response
_response = struct.Struct("<6s3x3s2x")
_response_with_rssi = struct.Struct("<6s2x3s2xb")
#: With the page scan mode in place, which version 1.1 had, some controllers keep it.
_response_with_rssi_and_mode = struct.Struct("<6s3x3s2xb")
_extended_response = struct.Struct("<6s2x3s2xb240s")


class InquiryResponse(NamedTuple):
    address: bytes
    class_of_device: int
    rssi: int  # dBm, or NO_RSSI
    data: bytes  # the structures of the extended response (Vol 3, Part C, 8), without what fills it up


def inquiry_responses(event: InquiryResult | InquiryResultWithRssi | ExtendedInquiryResult) -> list[InquiryResponse]:
    """Cuts a result into the responses in it. Raises RemoteProtocolError if it has another length than it says."""
    if isinstance(event, InquiryResult):
        layout = _response
    elif isinstance(event, ExtendedInquiryResult):
        layout = _extended_response
    elif len(event.responses) == event.count * _response_with_rssi_and_mode.size:
        layout = _response_with_rssi_and_mode
    else:
        layout = _response_with_rssi
    if len(event.responses) != event.count * layout.size:
        raise RemoteProtocolError(f"{type(event).__name__} has {len(event.responses)} octets for {event.count}")
    responses = []
    for address, class_of_device, *rest in layout.iter_unpack(event.responses):
        rssi, data = (*rest, b"")[:2] if rest else (NO_RSSI, b"")
        responses.append(
            InquiryResponse(address, int.from_bytes(class_of_device, "little"), rssi, _significant_part(data))
        )
    return responses


def _significant_part(untrusted: bytes) -> bytes:
    """Returns the structures before the one of no octets, which ends them (Vol 3, Part C, 8)."""
    end = 0
    while end < len(untrusted) and untrusted[end]:
        end += 1 + untrusted[end]
    return untrusted[:end]
