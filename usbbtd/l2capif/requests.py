"""Checks a request as far as it can be judged by itself, and makes the response to one that fails."""

from collections.abc import Callable, Container
from errno import EINVAL, EOPNOTSUPP
from typing import Any, NamedTuple

from usbbtd.abi.layout import constants
from usbbtd.l2capif import checks
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.wire import (
    AcceptRequest,
    AdvertiseExtendedRequest,
    AdvertiseRequest,
    AgentRequest,
    ChannelResponse,
    ConnectRequest,
    EchoRequest,
    EchoResponse,
    InfoRequest,
    ListenRequest,
    PairRequest,
    PairResponse,
    PlainRequest,
    PlainResponse,
    Request,
    Response,
    ScanRequest,
    pack,
    unpack,
)

INFO: int = constants.L2CAPIF_CMD_INFO
CONNECT: int = constants.L2CAPIF_CMD_CONNECT
LISTEN: int = constants.L2CAPIF_CMD_LISTEN
ACCEPT: int = constants.L2CAPIF_CMD_ACCEPT
RELEASE: int = constants.L2CAPIF_CMD_RELEASE
SCAN: int = constants.L2CAPIF_CMD_SCAN
ADVERTISE: int = constants.L2CAPIF_CMD_ADVERTISE
AGENT: int = constants.L2CAPIF_CMD_AGENT
ECHO: int = constants.L2CAPIF_CMD_ECHO
PAIR: int = constants.L2CAPIF_CMD_PAIR

_SCAN_FLAGS = constants.L2CAPIF_SCAN_ACTIVE | constants.L2CAPIF_SCAN_DUPLICATES | constants.L2CAPIF_SCAN_EXTENDED
_ADVERTISE_EXTENDED: int = constants.L2CAPIF_ADVERTISE_EXTENDED


class _Command(NamedTuple):
    request_type: type[Request]
    flags: int  # those that are defined
    check: Callable[[Any, FrontendLimits], int]


_COMMANDS = {
    INFO: _Command(InfoRequest, constants.L2CAPIF_INFO_WAIT, checks.check_info),
    CONNECT: _Command(ConnectRequest, constants.L2CAPIF_CONNECT_FIXED, checks.check_connect),
    LISTEN: _Command(ListenRequest, 0, checks.check_listen),
    ACCEPT: _Command(AcceptRequest, 0, checks.check_accept),
    RELEASE: _Command(PlainRequest, 0, checks.check_release),
    SCAN: _Command(ScanRequest, _SCAN_FLAGS, checks.check_scan),
    ADVERTISE: _Command(AdvertiseRequest, constants.L2CAPIF_ADVERTISE_CONNECTABLE, checks.check_advertise),
    AGENT: _Command(AgentRequest, 0, checks.check_agent),
    ECHO: _Command(EchoRequest, 0, checks.check_echo),
    PAIR: _Command(PairRequest, constants.L2CAPIF_PAIR_OOB | constants.L2CAPIF_PAIR_OOB_TK, checks.check_pair),
}

_EXTENDED_ADVERTISE = _Command(
    AdvertiseExtendedRequest, constants.L2CAPIF_ADVERTISE_CONNECTABLE | _ADVERTISE_EXTENDED,
    checks.check_advertise_extended,
)  # fmt: skip


def parse_request(untrusted: bytes, in_flight: Container[int], limits: FrontendLimits) -> Request | int:
    """Returns the request, or the (positive) error number of its response. ``in_flight``: the req_ids in use."""
    untrusted_header = unpack(PlainRequest, untrusted)
    command = _COMMANDS.get(untrusted_header.cmd)
    if command is None:
        return EOPNOTSUPP
    if untrusted_header.cmd == ADVERTISE and untrusted_header.flags & _ADVERTISE_EXTENDED:
        command = _EXTENDED_ADVERTISE
    request = unpack(command.request_type, untrusted)
    if pack(request) != untrusted or request.flags & ~command.flags or request.req_id in in_flight:
        return EINVAL
    return command.check(request, limits) or request


def timeout_s(timeout_ms: int) -> float:
    """Returns how long a request with this ``timeout_ms`` may take, unless it is a PAIR."""
    return min(timeout_ms or checks.DEFAULT_TIMEOUT_MS, checks.LONGEST_TIMEOUT_MS) / 1000


def pair_timeout_s(timeout_ms: int) -> float:
    """Returns how long a PAIR with this ``timeout_ms`` may take: people have to answer meanwhile."""
    return min(timeout_ms or checks.DEFAULT_PAIR_TIMEOUT_MS, checks.LONGEST_PAIR_TIMEOUT_MS) / 1000


def failure(request: Request, error: int, result: int = 0, status: int = 0, why: int = 0, needed: int = 0) -> Response:
    """Returns the response to a request that did not succeed. The arguments are those of ``Backend.fail``."""
    header = (request.req_id, request.cmd, request.id, -error)
    if request.cmd in (CONNECT, ACCEPT):
        return ChannelResponse(*header, result=result, status=status, why=why, needed=needed)
    if request.cmd == PAIR:
        return PairResponse(*header, status=status, why=why, needed=needed)
    if request.cmd == ECHO:
        return EchoResponse(*header, status=status)
    return PlainResponse(*header)
