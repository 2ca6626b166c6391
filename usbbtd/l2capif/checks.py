"""Checks whether the fields of a request are legal, without regard to other requests and objects.

A check returns 0, or the (positive) error number of the response.
"""

from errno import EINVAL, EOPNOTSUPP

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import BREDR, LE, MINIMUM_MTU, psm_is_legal, transport_of
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.wire import (
    AcceptRequest,
    AdvertiseRequest,
    ConnectRequest,
    EchoRequest,
    InfoRequest,
    ListenRequest,
    PlainRequest,
    ScanRequest,
)

LONGEST_TIMEOUT_MS = 60_000
INTERVALS_MS = range(20, 10_241)  # Vol 4, Part E, 7.8.5


def check_info(request: InfoRequest, limits: FrontendLimits) -> int:
    return EINVAL if request.id or (request.generation and not request.flags) else 0


def check_release(request: PlainRequest, limits: FrontendLimits) -> int:
    return EINVAL if any(request.raw) else 0


def check_connect(request: ConnectRequest, limits: FrontendLimits) -> int:
    if request.address_type > constants.L2CAPIF_ADDR_LE_RANDOM:
        return EINVAL
    return _check_channel(transport_of(request.address_type), request.psm, request.mtu, request.security, limits)


def check_listen(request: ListenRequest, limits: FrontendLimits) -> int:
    if request.transport not in (BREDR, LE):
        return EINVAL
    return _check_channel(request.transport, request.psm, request.mtu, request.security, limits)


def check_accept(request: AcceptRequest, limits: FrontendLimits) -> int:
    return 0


def check_scan(request: ScanRequest, limits: FrontendLimits) -> int:
    if request.transport not in (BREDR, LE):
        return EINVAL
    return EOPNOTSUPP if request.transport == BREDR else 0


def check_advertise(request: AdvertiseRequest, limits: FrontendLimits) -> int:
    if request.interval_ms and request.interval_ms not in INTERVALS_MS:
        return EINVAL
    return 0 if _fits(request.data_length, request.data) else EINVAL


def check_echo(request: EchoRequest, limits: FrontendLimits) -> int:
    if request.address_type > constants.L2CAPIF_ADDR_LE_RANDOM:
        return EINVAL
    if not _fits(request.data_length, request.data):
        return EINVAL
    # Vol 3, Part A, 4, Table 4.2: the signalling channel of LE has no echo.
    return EOPNOTSUPP if request.address_type != constants.L2CAPIF_ADDR_BREDR else 0


def _fits(length: int, data: bytes) -> bool:
    return length <= len(data) and not any(data[length:])


def _check_channel(transport: int, psm: int, mtu: int, security: int, limits: FrontendLimits) -> int:
    if not psm_is_legal(transport, psm) or not MINIMUM_MTU[transport] <= mtu <= limits.max_mtu:
        return EINVAL
    if security not in _SECURITY_LEVELS:
        return EINVAL
    return EOPNOTSUPP if security != constants.L2CAPIF_SECURITY_NONE else 0


_SECURITY_LEVELS = (
    constants.L2CAPIF_SECURITY_NONE,
    constants.L2CAPIF_SECURITY_ENCRYPTED,
    constants.L2CAPIF_SECURITY_MITM,
    constants.L2CAPIF_SECURITY_SC,
)
