"""errors.py: each failure has its error."""

import errno
from typing import Any

import pytest

from usbbtd.abi.layout import constants
from usbbtd.backends.access import Denied, TooOften
from usbbtd.backends.vl2cap.errors import failure_of
from usbbtd.bluetooth import BREDR
from usbbtd.errors import RemoteProtocolError
from usbbtd.radio.errors import (
    EchoRejected,
    Exhausted,
    Insecure,
    InUse,
    NoDongle,
    NotSupported,
    Obstacle,
    Refused,
    Unreachable,
)
from usbbtd.xen.error import XenError


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Refused(BREDR, 7), (errno.ECONNREFUSED, 7, 0, 0, 0)),
        (EchoRejected(), (errno.ECONNREFUSED, 0, 0, 0, 0)),
        (Insecure("", Obstacle.NO_MITM, level=2, needed=3), (errno.EPERM, 0, 0, 7, 3)),
        (Unreachable("", 8), (errno.ETIMEDOUT, 0, 8, 0, 0)),
        (TimeoutError(), (errno.ETIMEDOUT, 0, 0, 0, 0)),
        (NoDongle(), (errno.ENODEV, 0, 0, 0, 0)),
        (NotSupported(), (errno.EOPNOTSUPP, 0, 0, 0, 0)),
        (Exhausted(), (errno.EMFILE, 0, 0, 0, 0)),
        (InUse(), (errno.EADDRINUSE, 0, 0, 0, 0)),
        (Denied(), (errno.EACCES, 0, 0, 0, 0)),
        (TooOften(), (errno.EAGAIN, 0, 0, 0, 0)),
        (XenError(errno.ENOENT, ""), (errno.EFAULT, 0, 0, 0, 0)),
        (RemoteProtocolError(), (errno.EINVAL, 0, 0, 0, 0)),
    ],
)
def test_every_failure_has_its_error(error: Any, failure: tuple[int, ...]) -> None:
    assert failure_of(error) == failure


def test_reasons_have_the_numbers_of_the_protocol() -> None:
    numbers = list(range(14))
    assert [*Obstacle] == numbers
    names = {name.removeprefix("L2CAPIF_WHY_"): getattr(constants, name) for name in dir(constants) if "_WHY_" in name}
    assert sorted(names.values()) == numbers
    for reason in Obstacle:
        assert names[{"NO_SECURE_CONNECTIONS": "NO_SC"}.get(reason.name, reason.name)] == reason
