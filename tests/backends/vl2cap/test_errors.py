"""errors.py: each failure has its error."""

import errno
from typing import Any

import pytest

from usbbtd.backends.access import Denied, TooOften
from usbbtd.backends.vl2cap.errors import error_code
from usbbtd.bluetooth import BREDR
from usbbtd.errors import RemoteProtocolError
from usbbtd.radio.errors import EchoRejected, Exhausted, InUse, NoDongle, NotSupported, Refused, Unreachable
from usbbtd.xen.error import XenError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused(BREDR, 7), (errno.ECONNREFUSED, 7, 0)),
        (EchoRejected(), (errno.ECONNREFUSED, 0, 0)),
        (Unreachable("", 8), (errno.ETIMEDOUT, 0, 8)),
        (TimeoutError(), (errno.ETIMEDOUT, 0, 0)),
        (NoDongle(), (errno.ENODEV, 0, 0)),
        (NotSupported(), (errno.EOPNOTSUPP, 0, 0)),
        (Exhausted(), (errno.EMFILE, 0, 0)),
        (InUse(), (errno.EADDRINUSE, 0, 0)),
        (Denied(), (errno.EACCES, 0, 0)),
        (TooOften(), (errno.EAGAIN, 0, 0)),
        (XenError(errno.ENOENT, ""), (errno.EFAULT, 0, 0)),
        (RemoteProtocolError(), (errno.EINVAL, 0, 0)),
    ],
)
def test_every_failure_has_its_error(error: Any, code: tuple[int, int, int]) -> None:
    assert error_code(error) == code
