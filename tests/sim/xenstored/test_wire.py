import pytest

from tests.sim.xenstored import wire
from tests.sim.xenstored.wire import StoreError


def test_a_message_as_xs_wire_h_lays_it_out() -> None:
    assert wire.message(wire.READ, 7, 9, b"a\0") == (b"\x02\0\0\0\x07\0\0\0\x09\0\0\0\x02\0\0\0a\0")
    assert wire.unpack_header(wire.message(wire.WRITE, 1, 2, b"xyz")) == (11, 1, 2, 3)


def test_an_answer_that_is_too_long_becomes_an_error() -> None:
    assert wire.message(wire.READ, 7, 0, bytes(4096))[:4] == b"\x02\0\0\0"
    assert wire.message(wire.READ, 7, 0, bytes(4097)) == wire.message(wire.ERROR, 7, 0, b"E2BIG\0")


@pytest.mark.parametrize("payload", [b"", b"a", b"a\0b\0", b"\0\0", b"\xff\0"])
def test_not_one_string(payload: bytes) -> None:
    with pytest.raises(StoreError, match="EINVAL"):
        wire.one_string(payload)


def test_strings() -> None:
    assert wire.strings(b"a\0\0bc\0left out") == [b"a", b"", b"bc"]
    assert wire.one_string(b"path\0") == "path"
