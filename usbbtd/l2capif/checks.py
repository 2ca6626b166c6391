"""Checks whether the fields of a request are legal, without regard to other requests and objects.

A check returns 0, or the (positive) error number of the response.
"""

from errno import EINVAL, EOPNOTSUPP

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import BREDR, CID_ATT, LE, MINIMUM_MTU, psm_is_legal, transport_of
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.wire import (
    AcceptRequest,
    AdvertiseExtendedRequest,
    AdvertiseRequest,
    AgentRequest,
    ConnectRequest,
    EchoRequest,
    InfoRequest,
    ListenRequest,
    PairRequest,
    PlainRequest,
    ScanRequest,
)

DEFAULT_TIMEOUT_MS = 20_000
LONGEST_TIMEOUT_MS = 60_000
DEFAULT_PAIR_TIMEOUT_MS = 60_000
LONGEST_PAIR_TIMEOUT_MS = 120_000
DEFAULT_INTERVAL_MS = 100
INTERVALS_MS = range(20, 10_241)  # Vol 4, Part E, 7.8.5
TEMPORARY_KEY_SIZE = 16  # octets: Vol 3, Part H, 2.3.5.4

#: The fixed channels of an LE link that a frontend may have, by CID: ATT, and those that were assigned or may yet be
#: (Vol 3, Part A, 2.1, Table 2.3). The others are L2CAP's own signalling and the Security Manager's.
FIXED_CHANNELS = frozenset({CID_ATT, *range(0x0020, 0x003F)})


def check_info(request: InfoRequest, limits: FrontendLimits) -> int:
    return EINVAL if request.id or (request.generation and not request.flags) else 0


def check_release(request: PlainRequest, limits: FrontendLimits) -> int:
    return EINVAL if any(request.raw) else 0


def check_connect(request: ConnectRequest, limits: FrontendLimits) -> int:
    if request.address_type > constants.L2CAPIF_ADDR_LE_RANDOM:
        return EINVAL
    transport = transport_of(request.address_type)
    if not request.flags & constants.L2CAPIF_CONNECT_FIXED:
        return _check_channel(transport, request.psm, request.mtu, request.security, limits)
    if request.psm not in FIXED_CHANNELS or not _may_have(transport, request.mtu, request.security, limits):
        return EINVAL
    return EOPNOTSUPP if transport == BREDR else 0


def check_listen(request: ListenRequest, limits: FrontendLimits) -> int:
    if request.transport not in (BREDR, LE):
        return EINVAL
    return _check_channel(request.transport, request.psm, request.mtu, request.security, limits)


def check_accept(request: AcceptRequest, limits: FrontendLimits) -> int:
    return 0


def check_scan(request: ScanRequest, limits: FrontendLimits) -> int:
    if request.transport not in (BREDR, LE):
        return EINVAL
    # A report that is not extended has no place for a class of device, nor for what an inquiry finds.
    extended = request.flags & constants.L2CAPIF_SCAN_EXTENDED
    return EOPNOTSUPP if request.transport == BREDR and not extended else 0


def check_advertise(request: AdvertiseRequest, limits: FrontendLimits) -> int:
    if request.interval_ms and request.interval_ms not in INTERVALS_MS:
        return EINVAL
    return 0 if _fits(request.data_length, request.data) else EINVAL


def check_advertise_extended(request: AdvertiseExtendedRequest, limits: FrontendLimits) -> int:
    if request.interval_ms and request.interval_ms not in INTERVALS_MS:
        return EINVAL
    lengths = request.data_length, request.scan_data_length
    fits = max(lengths) <= constants.L2CAPIF_EXTENDED_DATA_SIZE
    return 0 if fits else EINVAL


def check_agent(request: AgentRequest, limits: FrontendLimits) -> int:
    return 0 if request.io_capability <= constants.L2CAPIF_IO_KEYBOARD_DISPLAY else EINVAL


def check_pair(request: PairRequest, limits: FrontendLimits) -> int:
    if request.address_type > constants.L2CAPIF_ADDR_LE_RANDOM or request.security > constants.L2CAPIF_SECURITY_SC:
        return EINVAL
    if request.flags == _BOTH_OOB or not _fits(oob_size(request.flags), request.oob):
        return EINVAL
    # BR/EDR has out-of-band data of another kind, which this version has no place for.
    return EOPNOTSUPP if request.flags and request.address_type == constants.L2CAPIF_ADDR_BREDR else 0


def oob_size(flags: int) -> int:
    """Returns how many octets of out-of-band data a PAIR with these flags has."""
    if flags & constants.L2CAPIF_PAIR_OOB_TK:
        return TEMPORARY_KEY_SIZE
    return int(constants.L2CAPIF_OOB_SIZE) if flags & constants.L2CAPIF_PAIR_OOB else 0


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
    return 0 if psm_is_legal(transport, psm) and _may_have(transport, mtu, security, limits) else EINVAL


def _may_have(transport: int, mtu: int, security: int, limits: FrontendLimits) -> bool:
    return MINIMUM_MTU[transport] <= mtu <= limits.max_mtu and security <= constants.L2CAPIF_SECURITY_SC


_BOTH_OOB = constants.L2CAPIF_PAIR_OOB | constants.L2CAPIF_PAIR_OOB_TK
