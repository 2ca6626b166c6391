"""The exceptions with which a guest's request may fail, and the errors of docs/l2capif.md for them."""

import errno
from typing import NamedTuple

from usbbtd.backends.access import Denied, TooOften
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.radio.errors import (
    EchoRejected,
    Exhausted,
    Insecure,
    InUse,
    NoDongle,
    NotSupported,
    RadioError,
    Refused,
    Unreachable,
)
from usbbtd.xen.error import XenError

#: The exceptions with which a request may fail; ``failure_of`` gives the protocol's error of each.
FAILURES = (RadioError, XenError, LocalProtocolError, RemoteProtocolError, TimeoutError)


class Failure(NamedTuple):
    """What a response says of a failure. ``error``: a XEN_E*, positive. ``result``: L2CAP's. ``status``: HCI's.

    ``why`` a link did not reach the level that is ``needed``: L2CAPIF_WHY_*.
    """

    error: int
    result: int = 0
    status: int = 0
    why: int = 0
    needed: int = 0


def failure_of(error: BaseException) -> Failure:
    """Returns what the response to a request says that failed with one of FAILURES."""
    match error:
        case Refused() | EchoRejected():
            return Failure(errno.ECONNREFUSED, result=error.result)
        case Insecure():
            return Failure(errno.EPERM, why=error.why, needed=error.needed)
        case Unreachable():
            return Failure(errno.ETIMEDOUT, status=error.status)
        case TimeoutError():
            return Failure(errno.ETIMEDOUT)
        case NoDongle():
            return Failure(errno.ENODEV)
        case NotSupported():
            return Failure(errno.EOPNOTSUPP)
        case Exhausted():
            return Failure(errno.EMFILE)
        case Denied():
            return Failure(errno.EACCES)
        case TooOften():
            return Failure(errno.EAGAIN)
        case InUse():
            return Failure(errno.EADDRINUSE)
        case XenError():
            return Failure(errno.EFAULT)
        case _:
            return Failure(errno.EINVAL)
