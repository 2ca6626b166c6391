"""The exceptions with which a guest's request may fail, and the errors of docs/l2capif.md for them."""

import errno

from usbbtd.backends.access import Denied, TooOften
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.radio.errors import (
    EchoRejected,
    Exhausted,
    InUse,
    NoDongle,
    NotSupported,
    RadioError,
    Refused,
    Unreachable,
)
from usbbtd.xen.error import XenError

#: The exceptions with which a request may fail; ``error_code`` gives the protocol's error of each.
FAILURES = (RadioError, XenError, LocalProtocolError, RemoteProtocolError, TimeoutError)


def error_code(error: BaseException) -> tuple[int, int, int]:
    """Returns (XEN_E*, L2CAP result, HCI status) for a failure: the errors of docs/l2capif.md."""
    match error:
        case Refused() | EchoRejected():
            return errno.ECONNREFUSED, error.result, 0
        case Unreachable():
            return errno.ETIMEDOUT, 0, error.status
        case TimeoutError():
            return errno.ETIMEDOUT, 0, 0
        case NoDongle():
            return errno.ENODEV, 0, 0
        case NotSupported():
            return errno.EOPNOTSUPP, 0, 0
        case Exhausted():
            return errno.EMFILE, 0, 0
        case Denied():
            return errno.EACCES, 0, 0
        case TooOften():
            return errno.EAGAIN, 0, 0
        case InUse():
            return errno.EADDRINUSE, 0, 0
        case XenError():
            return errno.EFAULT, 0, 0
        case _:
            return errno.EINVAL, 0, 0
