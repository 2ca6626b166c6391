"""Standard control requests: USB 2.0, 9.3 and 9.4."""

from struct import Struct

GET_STATUS, CLEAR_FEATURE, SET_FEATURE, SET_ADDRESS = 0, 1, 3, 5
GET_DESCRIPTOR, GET_CONFIGURATION, SET_CONFIGURATION, GET_INTERFACE, SET_INTERFACE = 6, 8, 9, 10, 11

#: bmRequestType of standard requests: direction in bit 7, recipient in the low bits.
DEVICE_OUT, INTERFACE_OUT, ENDPOINT_OUT = 0x00, 0x01, 0x02
DEVICE_IN, INTERFACE_IN, ENDPOINT_IN = 0x80, 0x81, 0x82

#: The bits of bmRequestType that are 0 in a standard request and not in a class or vendor request.
KIND_MASK = 0x60

#: The feature of an endpoint that SET_FEATURE sets, and CLEAR_FEATURE clears.
ENDPOINT_HALT = 0

_setup = Struct("<BBHHH")
SETUP_SIZE = _setup.size

#: (bmRequestType, bRequest, wValue, wIndex, wLength)
unpack_setup = _setup.unpack


def pack_setup(request_type: int, request: int, value: int, index: int, length: int) -> bytes:
    """Returns the eight octets of setup."""
    return _setup.pack(request_type, request, value, index, length)


def clear_halt(endpoint: int) -> bytes:
    """Returns the setup of the request that ends the halt of an endpoint."""
    return pack_setup(ENDPOINT_OUT, CLEAR_FEATURE, ENDPOINT_HALT, endpoint, 0)
