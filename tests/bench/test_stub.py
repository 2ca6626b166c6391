"""The stub controller's own codec, against itself and against what it must refuse."""

import pytest

from tests.bench.host import Ours, connected
from tests.bench.stub import HANDLE, StubController, completed
from usbbtd.bluetooth import BREDR, LE


@pytest.fixture(params=[BREDR, LE], ids=["BR/EDR", "LE"])
async def stub(request: pytest.FixtureRequest) -> StubController:
    made = StubController(request.param, 27)
    await connected(Ours(made), made)
    return made


@pytest.mark.parametrize("size", [0, 1, 64, 1022, 1023, 2048])
def test_what_it_encodes_for_a_host_has_the_form_of_what_it_reads_from_one(stub: StubController, size: int) -> None:
    sdus = [bytes(size), bytes((1,)) * size]
    packets = stub.encode(sdus)
    assert all(len(packet) <= 4 + 27 for packet in packets)
    stub.sent += packets  # both ends of the channel have the same number here
    assert stub.take_sdus() == sdus
    assert not stub.sent


def test_anything_but_sdus_of_the_channel_is_an_error(stub: StubController) -> None:
    stub.sent.append(bytes((HANDLE, 0x20, 6, 0, 2, 0, 0x41, 0, 0, 0)))
    with pytest.raises(ValueError, match="02004100"):
        stub.take_sdus()


def test_credits_are_for_le_only(stub: StubController) -> None:
    packets = stub.credits_for([bytes(2048), bytes(64)])
    credit = bytes.fromhex("0800 0500 167f 0400 4000 0400")
    assert packets == ([bytes((HANDLE, 0x20, len(credit), 0)) + credit] if stub.transport == LE else [])


def test_number_of_completed_packets() -> None:
    assert completed(3) == bytes.fromhex("1305 01 4000 0300")
