"""What one request may be; all of the order in which it is looked for is in test_backend.py."""

from errno import EINVAL, EOPNOTSUPP, ETIMEDOUT

import pytest

from usbbtd.l2capif import wire
from usbbtd.l2capif.checks import (
    DEFAULT_PAIR_TIMEOUT_MS,
    DEFAULT_TIMEOUT_MS,
    LONGEST_PAIR_TIMEOUT_MS,
    LONGEST_TIMEOUT_MS,
)
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.requests import (
    ADVERTISE,
    AGENT,
    CONNECT,
    ECHO,
    INFO,
    PAIR,
    SCAN,
    failure,
    pair_timeout_s,
    parse_request,
    timeout_s,
)

REQUESTS = [
    wire.InfoRequest(1, INFO, 0, 0, 0),
    wire.ConnectRequest(2, CONNECT, 2, 0, 8, 9, bytes(6), 0, 0, 0x1001, 672, 0),
    wire.ScanRequest(3, SCAN, 3, 3, 8, 9, 1),
    wire.EchoRequest(4, ECHO, 4, 0, bytes(6), 0, 0, 0, bytes(36)),
    wire.AdvertiseRequest(5, ADVERTISE, 5, 0, 0, 0, bytes(31)),
    wire.AdvertiseExtendedRequest(6, ADVERTISE, 6, 2, 8, 0, 0, 0),
    wire.AgentRequest(7, AGENT, 7, 0, 8, 9, 1),
    wire.PairRequest(8, PAIR, 8, 0, bytes(6), 2, 3, 0, bytes(32)),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_is_what_was_sent_or_an_error(request_: wire.Request) -> None:
    limits = FrontendLimits()
    assert parse_request(wire.pack(request_), (), limits) == request_
    assert parse_request(wire.pack(request_), (request_.req_id,), limits) == EINVAL
    assert parse_request(wire.pack(request_._replace(flags=request_.flags | 1 << 31)), (), limits) == EINVAL
    assert parse_request(wire.pack(request_._replace(cmd=99)), (), limits) == EOPNOTSUPP
    if not isinstance(request_, wire.EchoRequest):  # which has no pad
        assert parse_request(wire.pack(request_)[:-1] + b"\1", (), limits) == EINVAL


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_failed_is_answered_in_its_form(request_: wire.Request) -> None:
    response = failure(request_, ETIMEDOUT, 2, 4, 7, 3)
    assert response[:4] == (request_.req_id, request_.cmd, request_.id, -ETIMEDOUT)
    assert (getattr(response, "result", 2), getattr(response, "status", 4)) == (2, 4)
    assert (getattr(response, "why", 7), getattr(response, "needed", 3)) == (7, 3)


def test_how_long_a_request_may_take() -> None:
    assert timeout_s(0) == DEFAULT_TIMEOUT_MS / 1000
    assert timeout_s(1500) == 1.5
    assert timeout_s(0xFFFF_FFFF) == LONGEST_TIMEOUT_MS / 1000
    assert pair_timeout_s(0) == DEFAULT_PAIR_TIMEOUT_MS / 1000
    assert pair_timeout_s(1500) == 1.5
    assert pair_timeout_s(0xFFFF_FFFF) == LONGEST_PAIR_TIMEOUT_MS / 1000
