import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usb.conftest import Bus, Dongle
from usbbtd.errors import RemoteProtocolError
from usbbtd.usb.enumeration import Bluetooth, ControlRequest, Found, enumerate_device, find_bluetooth
from usbbtd.usb.wire import descriptors, standard, usbif
from usbbtd.usb.wire.descriptors import EndpointDescriptor


def run(steps: Any, answer: Callable[..., Any]) -> Found:
    """What the enumeration returns; ``answer(control)`` is the device."""
    control = next(steps)
    try:
        while True:
            control = steps.send(answer(control))
    except StopIteration as end:
        found: Found = end.value
        return found


def bus_answers(bus: Bus, port: int = 1) -> Callable[..., Any]:
    return lambda control: bus.control(control.address, control.setup, port=port)


def test_a_dongle_is_found_and_configured(new_bus: type[Bus], new_dongle: type[Dongle]) -> None:
    bus, dongle = new_bus(), new_dongle()
    bus.backend.plug(1, dongle)
    found = run(enumerate_device(1), bus_answers(bus))
    assert (found.address, found.vendor_id, found.product_id, found.serial) == (1, 0x1209, 0xB7B7, "0001")
    assert found.bluetooth == Bluetooth(0x81, 16, 0x82, 0x02, 64)
    assert dongle.configured


def test_another_device_is_left_alone(new_bus: type[Bus], new_dongle: type[Dongle]) -> None:
    bus, device = new_bus(), new_dongle(class_code=0x08)
    bus.backend.plug(1, device)
    found = run(enumerate_device(1), bus_answers(bus))
    assert (found.class_code, found.bluetooth) == (0x08, None)
    assert not device.configured


def test_address_0_sees_what_backends_let_through(new_bus: type[Bus], new_dongle: type[Dongle]) -> None:
    bus = new_bus()
    bus.backend.plug(1, new_dongle())
    seen = []

    def answer(control: ControlRequest) -> tuple[int, bytes]:
        seen.append((control.address, control.setup[1]))
        return bus.control(control.address, control.setup)

    run(enumerate_device(9), answer)
    assert seen[:3] == [(0, standard.GET_DESCRIPTOR), (0, standard.SET_ADDRESS), (9, standard.GET_DESCRIPTOR)]
    assert {address for address, _ in seen[2:]} == {9}
    assert seen[-1] == (9, standard.SET_CONFIGURATION)


@pytest.mark.parametrize("refused", [0, 1, 2, 5, 6, 7])
def test_a_refused_step_is_named(new_bus: type[Bus], new_dongle: type[Dongle], refused: int) -> None:
    bus = new_bus()
    bus.backend.plug(1, new_dongle())
    count = iter(range(100))
    steps = {
        0: "first descriptor",
        1: "set address",
        2: "device descriptor",
        5: "configuration descriptor",
        6: "configuration descriptor",
        7: "set configuration",
    }
    with pytest.raises(RemoteProtocolError, match=steps[refused]):
        run(
            enumerate_device(1),
            lambda control: (
                (usbif.STALL, b"") if next(count) == refused else bus.control(control.address, control.setup)
            ),
        )


@pytest.mark.parametrize("refused", [3, 4])
def test_a_serial_number_that_cannot_be_read_is_none(
    new_bus: type[Bus], new_dongle: type[Dongle], refused: int
) -> None:
    bus = new_bus()
    bus.backend.plug(1, new_dongle())
    count = iter(range(100))
    found = run(
        enumerate_device(1),
        lambda control: (usbif.STALL, b"") if next(count) == refused else bus.control(control.address, control.setup),
    )
    assert found.serial == ""
    assert found.bluetooth


def endpoint(address: int, kind: int, size: int = 64) -> EndpointDescriptor:
    return descriptors.EndpointDescriptor(address, kind, size, 1)


@pytest.mark.parametrize(
    "missing", [None, (0x81, descriptors.INTERRUPT), (0x82, descriptors.BULK), (0x02, descriptors.BULK)]
)
def test_all_three_endpoints_or_no_dongle(missing: tuple[int, int] | None) -> None:
    complete = [(0x81, descriptors.INTERRUPT), (0x82, descriptors.BULK), (0x02, descriptors.BULK)]
    endpoints = tuple(endpoint(*each) for each in complete if each != missing)
    found = find_bluetooth(
        descriptors.ConfigurationDescriptor(1, (descriptors.InterfaceDescriptor(0, 0, 0xE0, 1, 1, endpoints),))
    )
    assert (found is None) == (missing is not None)


def test_an_endpoint_without_packets_or_with_number_0_is_none() -> None:
    endpoints = (
        endpoint(0x80, descriptors.INTERRUPT),
        endpoint(0x81, descriptors.INTERRUPT, 0),
        endpoint(0x82, descriptors.BULK),
        endpoint(0x02, descriptors.BULK),
    )
    assert (
        find_bluetooth(
            descriptors.ConfigurationDescriptor(1, (descriptors.InterfaceDescriptor(0, 0, 0xE0, 1, 1, endpoints),))
        )
        is None
    )


@given(
    st.lists(st.tuples(st.sampled_from([0, 0, 0, -32]), st.binary(max_size=40)), min_size=10, max_size=10), st.data()
)
def test_a_device_that_says_anything(answers: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """Each answer may be cut down to what was asked for, as the frontend core makes sure that it is."""
    remaining = iter(answers)
    valid = data.draw(st.booleans())
    device = descriptors.pack_device(descriptors.DeviceDescriptor(0x200, 0xE0, 1, 1, 64, 1, 2, 3, 1, 2, 3, 1))

    def answer(control: ControlRequest) -> tuple[int, bytes]:
        status, text = next(remaining)
        text = device if valid and control.setup[3] == descriptors.DEVICE else text
        return status, text[: int.from_bytes(control.setup[6:8], "little")]

    with contextlib.suppress(RemoteProtocolError):
        run(enumerate_device(1), answer)
