"""info.py: INFOs that wait for a change."""

import errno

from tests.l2capif.test_backend import ADDRESS, INFO, Driven
from usbbtd.l2capif import calls, wire


def wait_info(req_id: int, generation: int) -> bytes:
    return wire.pack(wire.InfoRequest(req_id, INFO, 0, 1, generation))


def test_an_info_that_waits() -> None:
    backend = Driven()
    assert backend.ask(wait_info(1, 0), wait_info(2, 1), wait_info(3, 1)) == [calls.InfoCall(1)]
    assert backend.take_responses() == []
    backend.change_info()
    assert backend.take_calls() == [calls.InfoCall(2), calls.InfoCall(3)]
    for req_id in (1, 2, 3):
        backend.complete_info(req_id, ADDRESS, 0, powered=False, features=0)
    answers = [wire.unpack(wire.InfoResponse, response) for response in backend.take_responses()]
    assert [answer.generation for answer in answers] == [2, 2, 2]
    assert backend.ask(wait_info(4, 1)) == [calls.InfoCall(4)]  # it changed before this was asked
    backend.complete_info(4, ADDRESS, 0, powered=False, features=0)
    backend.change_info()
    assert backend.take_calls() == []


def test_an_info_that_waits_at_the_end() -> None:
    backend = Driven()
    backend.ask(wait_info(1, 1))
    backend.close()
    (response,) = backend.take_responses()
    assert wire.unpack(wire.InfoResponse, response)[:4] == (1, INFO, 0, -errno.ENODEV)


def test_an_info_with_a_generation_and_no_wish_to_wait() -> None:
    backend = Driven()
    assert backend.ask(wire.pack(wire.InfoRequest(1, INFO, 0, 0, 1))) == []
    (response,) = backend.take_responses()
    assert wire.unpack(wire.PlainResponse, response).ret == -errno.EINVAL
