"""Both hosts on the stub controller: the channel opens, and SDUs go both ways."""

import pytest

from tests.bench.host import Ours, Theirs, connected
from tests.bench.stub import StubController, completed
from usbbtd.bluetooth import BREDR, LE

SDUS = [bytes((number,)) * 700 for number in range(3)]


@pytest.mark.parametrize("transport", [BREDR, LE])
@pytest.mark.parametrize("make", [Ours, Theirs])
async def test_sdus_both_ways(make: type[Ours] | type[Theirs], transport: int) -> None:
    stub = StubController(transport, 251)
    host = make(stub)
    await connected(host, stub)
    assert not stub.busy
    for packet in stub.encode(SDUS):
        host.receive([packet], [])
    assert host.received == SDUS
    host.send(SDUS)
    assert len(stub.sent) == 8  # what the controller holds, and no more
    host.receive([], [completed(8)])
    assert stub.take_sdus() == SDUS
