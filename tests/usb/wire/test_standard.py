"""Vectors: USB 2.0, table 9-3."""

from usbbtd.usb.wire import standard


def test_setups_of_the_specification() -> None:
    assert standard.pack_setup(standard.DEVICE_IN, standard.GET_DESCRIPTOR, 0x0100, 0, 18).hex() == "8006000100001200"
    assert standard.pack_setup(standard.DEVICE_OUT, standard.SET_ADDRESS, 5, 0, 0).hex() == "0005050000000000"
    assert standard.clear_halt(0x81).hex() == "0201000081000000"
    assert standard.unpack_setup(bytes.fromhex("8006000100001200")) == (0x80, 6, 0x0100, 0, 18)
