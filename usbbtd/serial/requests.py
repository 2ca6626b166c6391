"""Reads the bodies of requests that make objects, and checks each as far as it can be judged by itself."""

from collections.abc import Callable, Mapping
from errno import EINVAL
from struct import Struct
from typing import Any, NamedTuple

from usbbtd.bluetooth import ADDRESS_LE_RANDOM, BREDR, LE, LEVEL_SECURE
from usbbtd.serial import wire
from usbbtd.serial.events import (
    AcceptAsked,
    AdvertiseAsked,
    ConnectAsked,
    EchoAsked,
    ListenAsked,
    ObjectEvent,
    ScanAsked,
)
from usbbtd.serial.limits import SerialLimits
from usbbtd.serial.objects import SerialObject
from usbbtd.serial.states import SerialState
from usbbtd.serial.wire import SerialCommand

#: The client's objects by id.
Objects = Mapping[int, SerialObject]


class _Context(NamedTuple):
    """What a reader needs besides the fields of the body. ``number``: the id. ``data``: what follows the body."""

    number: int
    flags: int
    data: bytes
    objects: Objects
    limits: SerialLimits


class _Form(NamedTuple):
    """``flags``: those that are defined. ``variable``: whether data follow the body.

    ``read`` gets the context and the fields of the body, and returns None if one of them is out of its range.
    """

    body: Struct
    flags: int
    variable: bool
    read: Callable[..., ObjectEvent | None]


def read_request(
    number: int, command: int, flags: int, untrusted_body: bytes, objects: Objects, limits: SerialLimits
) -> ObjectEvent | int:
    """Returns what a request wants, with the object that it makes; EINVAL if it is malformed.

    The command must be one of ``MAKERS``.
    """
    form = MAKERS[command]
    size = form.body.size
    if flags & ~form.flags or len(untrusted_body) < size or (len(untrusted_body) > size and not form.variable):
        return EINVAL
    fields: tuple[Any, ...] = form.body.unpack_from(untrusted_body)
    return form.read(_Context(number, flags, untrusted_body[size:], objects, limits), *fields) or EINVAL


def _connect(
    context: _Context, address: bytes, address_type: int, security: int, psm: int, mtu: int, timeout_ms: int, first: int
) -> ConnectAsked | None:
    if mtu > context.limits.mtu or address_type > ADDRESS_LE_RANDOM or security > LEVEL_SECURE:
        return None
    made = SerialObject(context.number, SerialCommand.CONNECT, first, mtu)
    fixed = bool(context.flags & wire.CONNECT_FIXED)
    return ConnectAsked(made, address, address_type, security, psm, mtu, timeout_ms, fixed)


def _listen(context: _Context, psm: int, mtu: int, backlog: int, transport: int, security: int) -> ListenAsked | None:
    if mtu > context.limits.mtu or transport not in (BREDR, LE) or security > LEVEL_SECURE:
        return None
    made = SerialObject(context.number, SerialCommand.LISTEN, mtu=mtu)
    return ListenAsked(made, psm, mtu, backlog, transport, security)


def _accept(context: _Context, listener_id: int, first: int) -> AcceptAsked | None:
    listener = context.objects.get(listener_id)
    if listener is None or listener.command != SerialCommand.LISTEN or listener.state is not SerialState.OPEN:
        return None
    return AcceptAsked(SerialObject(context.number, SerialCommand.ACCEPT, first, listener.mtu), listener)


def _scan(context: _Context, transport: int, first: int, mtu: int) -> ScanAsked | None:
    if transport not in (BREDR, LE):
        return None
    made = SerialObject(context.number, SerialCommand.SCAN, first, min(mtu, context.limits.mtu))
    active, duplicates = bool(context.flags & wire.SCAN_ACTIVE), bool(context.flags & wire.SCAN_DUPLICATES)
    return ScanAsked(made, transport, active, duplicates)


def _advertise(context: _Context, interval_ms: int, length: int, scan_length: int) -> AdvertiseAsked | None:
    data = context.data
    if max(length, scan_length) > wire.MAX_AD_SIZE or length + scan_length != len(data):
        return None
    made = SerialObject(context.number, SerialCommand.ADVERTISE)
    connectable = bool(context.flags & wire.ADVERTISE_CONNECTABLE)
    return AdvertiseAsked(made, interval_ms, data[:length], data[length:], connectable)


def _echo(context: _Context, address: bytes, address_type: int, data_length: int, timeout_ms: int) -> EchoAsked | None:
    data = context.data
    if data_length > wire.MAX_ECHO_SIZE or data_length != len(data) or address_type > ADDRESS_LE_RANDOM:
        return None
    return EchoAsked(SerialObject(context.number, SerialCommand.ECHO), address, address_type, data, timeout_ms)


MAKERS: dict[int, _Form] = {
    SerialCommand.CONNECT: _Form(wire.CONNECT, wire.CONNECT_FIXED, False, _connect),
    SerialCommand.LISTEN: _Form(wire.LISTEN, 0, False, _listen),
    SerialCommand.ACCEPT: _Form(wire.ACCEPT, 0, False, _accept),
    SerialCommand.SCAN: _Form(wire.SCAN, wire.SCAN_ACTIVE | wire.SCAN_DUPLICATES, False, _scan),
    SerialCommand.ADVERTISE: _Form(wire.ADVERTISE, wire.ADVERTISE_CONNECTABLE, True, _advertise),
    SerialCommand.ECHO: _Form(wire.ECHO, 0, True, _echo),
}
