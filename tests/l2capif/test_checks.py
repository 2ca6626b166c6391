"""checks.py: each field that can be wrong, and its error number."""

from errno import EINVAL, EOPNOTSUPP
from typing import Any

import pytest

from usbbtd.l2capif import checks, wire
from usbbtd.l2capif.limits import FrontendLimits

LIMITS = FrontendLimits()
CONNECT = wire.ConnectRequest(1, 1, 2, 0, 8, 9, bytes(6), 0, 0, 0x1001, 672, 0)
LE_CONNECT = CONNECT._replace(address_type=2, psm=0x81)
LISTEN = wire.ListenRequest(1, 2, 2, 0, 0x1001, 672, 0, 0, 0)
LE_LISTEN = LISTEN._replace(transport=1, psm=0x81)
SCAN = wire.ScanRequest(1, 5, 2, 0, 8, 9, 1)
ADVERTISE = wire.AdvertiseRequest(1, 6, 2, 0, 100, 3, b"abc".ljust(31, b"\0"))


ECHO = wire.EchoRequest(1, 8, 1, 0, bytes(6), 0, 3, 0, b"abc".ljust(36, b"\0"))


def test_limits() -> None:
    assert LIMITS.max_mtu == 65532
    assert FrontendLimits(max_page_order=6).max_mtu == 65535
    assert LIMITS.requests < 32  # the slots of the ring: some stay for RELEASE


@pytest.mark.parametrize("request_", [CONNECT, LE_CONNECT, LISTEN, LE_LISTEN])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, 0), ({"psm": 0}, EINVAL), ({"mtu": 0}, EINVAL), ({"mtu": 22}, EINVAL), ({"mtu": 65532}, 0),
        ({"mtu": 65533}, EINVAL), ({"security": 1}, 0), ({"security": 5}, EINVAL), ({"security": 2}, 0),
        ({"security": 3}, 0), ({"security": 4}, 0),
    ],
)  # fmt: skip
def test_channels(request_: Any, change: dict[str, int], error: int) -> None:
    check: Any = checks.check_connect if isinstance(request_, wire.ConnectRequest) else checks.check_listen
    assert check(request_._replace(**change), LIMITS) == error


def test_channel_kinds() -> None:
    assert checks.check_connect(CONNECT._replace(address_type=3), LIMITS) == EINVAL
    assert checks.check_listen(LISTEN._replace(transport=2), LIMITS) == EINVAL
    assert checks.check_connect(CONNECT._replace(mtu=47), LIMITS) == EINVAL
    assert checks.check_connect(LE_CONNECT._replace(mtu=23), LIMITS) == 0


def test_plain() -> None:
    assert checks.check_info(wire.InfoRequest(1, 0, 0), LIMITS) == 0
    assert checks.check_info(wire.InfoRequest(1, 0, 1), LIMITS) == EINVAL
    assert checks.check_info(wire.InfoRequest(1, 0, 0, 0, 1), LIMITS) == EINVAL
    assert checks.check_info(wire.InfoRequest(1, 0, 0, 1, 1), LIMITS) == 0
    assert checks.check_release(wire.PlainRequest(1, 4, 7), LIMITS) == 0
    assert checks.check_release(wire.PlainRequest(1, 4, 7, 0, b"\1" + bytes(47)), LIMITS) == EINVAL
    assert checks.check_accept(wire.AcceptRequest(1, 3, 5, 0, 0, 0, 0), LIMITS) == 0


@pytest.mark.parametrize(
    ("psm", "error"),
    [(0, EINVAL), (1, EINVAL), (4, 0), (5, EINVAL), (6, EINVAL), (7, EINVAL), (0x20, 0), (0x3E, 0), (0x3F, EINVAL)],
)
def test_fixed_channels(psm: int, error: int) -> None:
    fixed = LE_CONNECT._replace(flags=1, psm=psm)
    assert checks.check_connect(fixed, LIMITS) == error
    assert checks.check_connect(fixed._replace(address_type=0), LIMITS) == (error or EOPNOTSUPP)
    assert checks.check_connect(fixed._replace(mtu=22), LIMITS) == EINVAL
    assert checks.check_connect(fixed._replace(security=5), LIMITS) == EINVAL


@pytest.mark.parametrize(
    ("flags", "transport", "error"),
    [(0, 0, EOPNOTSUPP), (0, 1, 0), (0, 2, EINVAL), (4, 0, 0), (4, 1, 0), (4, 2, EINVAL)],
)
def test_scan(flags: int, transport: int, error: int) -> None:
    assert checks.check_scan(SCAN._replace(flags=flags, transport=transport), LIMITS) == error


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, 0), ({"interval_ms": 19}, EINVAL), ({"interval_ms": 0}, 0), ({"data_length": 1651}, EINVAL),
        ({"scan_data_length": 1651}, EINVAL), ({"data_length": 0, "scan_data_length": 0}, 0),
    ],
)  # fmt: skip
def test_advertise_extended(change: dict[str, int], error: int) -> None:
    request = wire.AdvertiseExtendedRequest(1, 6, 2, 2, 8, 100, 1650, 1650)
    assert checks.check_advertise_extended(request._replace(**change), LIMITS) == error


@pytest.mark.parametrize(("io_capability", "error"), [(0, 0), (4, 0), (5, EINVAL)])
def test_agent(io_capability: int, error: int) -> None:
    assert checks.check_agent(wire.AgentRequest(1, 7, 2, 0, 8, 9, io_capability), LIMITS) == error


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, 0), ({"address_type": 0}, 0), ({"address_type": 3}, EINVAL), ({"security": 0}, 0), ({"security": 4}, 0),
        ({"security": 5}, EINVAL), ({"oob": b"\1".ljust(32, b"\0")}, EINVAL), ({"flags": 1, "oob": b"\1" * 32}, 0),
        ({"flags": 2, "oob": b"\1" * 16 + bytes(16)}, 0), ({"flags": 2, "oob": b"\1" * 32}, EINVAL),
        ({"flags": 3}, EINVAL), ({"flags": 1, "address_type": 0}, EOPNOTSUPP),
    ],
)  # fmt: skip
def test_pair(change: dict[str, Any], error: int) -> None:
    request = wire.PairRequest(1, 9, 2, 0, bytes(6), 2, 3, 0, bytes(32))
    assert checks.check_pair(request._replace(**change), LIMITS) == error


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, 0), ({"interval_ms": 0}, 0), ({"interval_ms": 19}, EINVAL), ({"interval_ms": 20}, 0),
        ({"interval_ms": 10240}, 0), ({"interval_ms": 10241}, EINVAL), ({"data_length": 31}, 0),
        ({"data_length": 32}, EINVAL), ({"data_length": 2}, EINVAL), ({"data_length": 0, "data": bytes(31)}, 0),
    ],
)  # fmt: skip
def test_advertise(change: dict[str, Any], error: int) -> None:
    assert checks.check_advertise(ADVERTISE._replace(**change), LIMITS) == error


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, 0), ({"data_length": 2}, EINVAL), ({"data_length": 36}, 0),
        ({"data_length": 37}, EINVAL), ({"data_length": 0, "data": bytes(36)}, 0), ({"address_type": 1}, EOPNOTSUPP),
        ({"address_type": 2}, EOPNOTSUPP), ({"address_type": 3}, EINVAL),
    ],
)  # fmt: skip
def test_echo(change: dict[str, Any], error: int) -> None:
    assert checks.check_echo(ECHO._replace(**change), LIMITS) == error
