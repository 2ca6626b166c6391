import errno
import pickle

import pytest

from usbbtd.guest import errors
from usbbtd.guest.errors import closed, refused


@pytest.mark.parametrize(
    ("number", "kind", "builtin", "text"),
    [
        (errno.ECONNREFUSED, errors.L2capRefused, ConnectionRefusedError, "x: the peer refused: SPSM not supported"),
        (errno.ETIMEDOUT, errors.ConnectTimeout, TimeoutError, "x: no answer, HCI status 0x04 (page timeout)"),
        (errno.EACCES, errors.PermissionDenied, PermissionError, "x: the driver domain does not allow it"),
        (errno.EMFILE, errors.LimitReached, OSError, "x: the driver domain's limit for this guest is reached"),
        (errno.EAGAIN, errors.LimitReached, OSError, "x: this guest has connected too often in the last minute"),
        (errno.EADDRINUSE, errors.AdapterError, OSError, "x: in use already, by this guest or another"),
        (errno.ENODEV, errors.NoController, OSError, "x: the driver domain has no Bluetooth controller now"),
        (errno.EOPNOTSUPP, errors.AdapterError, OSError, "x: the adapter cannot do that"),
        (errno.ENOTCONN, errors.AdapterError, OSError, "x: ended before it was answered"),
        (errno.EFAULT, errors.AdapterError, OSError, "x: EFAULT"),
        (4095, errors.AdapterError, OSError, "x: 4095"),
    ],
)
def test_errors_of_requests(number: int, kind: type, builtin: type, text: str) -> None:
    error = refused(number, "x", result=2, status=4, le=True)
    assert type(error) is kind
    assert isinstance(error, builtin)
    assert error.errno == number
    assert str(error) == text


def test_a_refusal_has_the_peers_result() -> None:
    error = refused(errno.ECONNREFUSED, "x", result=3, status=0, le=False)
    assert isinstance(error, errors.L2capRefused)
    assert (error.result, error.name) == (3, "security block")


@pytest.mark.parametrize(
    ("why", "needed", "found", "text"),
    [
        (
            1,
            2,
            ("encrypted", "no_agent"),
            "be encrypted: there is no key that is good enough, and no agent that may pair",
        ),
        (7, 3, ("authenticated", "no_mitm"), "be authenticated: the two devices have no way to show and type"),
        (8, 4, ("secure", "no_sc"), "be secure: the peer or the controller has no Secure Connections"),
        (0, 0, ("none", "unknown"), "be more secure: it is not said why"),
        (99, 3, ("authenticated", "unknown"), "be authenticated: it is not said why"),
    ],
)
def test_what_was_missing_for_a_level(why: int, needed: int, found: tuple[str, str], text: str) -> None:
    error = refused(errno.EPERM, "connect to X", 0, 0, le=False, why=why, needed=needed)
    assert isinstance(error, errors.NotSecure)
    assert not isinstance(error, errors.PermissionDenied)
    assert (error.level, error.why) == found
    assert str(error).startswith(f"connect to X: the link has to {text}")


def test_a_timeout_has_the_status() -> None:
    error = refused(errno.ETIMEDOUT, "x", result=0, status=0x3E, le=False)
    assert isinstance(error, errors.ConnectTimeout)
    assert error.status == 0x3E
    assert str(refused(errno.ETIMEDOUT, "x", 0, 0, le=False)) == "x: no answer"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOTCONN, "the peer disconnected"),
        (errno.ETIMEDOUT, "the link was lost"),
        (errno.ENOBUFS, "this program did not read"),
        (errno.ENODEV, "the Bluetooth controller is gone"),
        (errno.EBADMSG, "the peer or this guest broke the protocol"),
        (errno.EACCES, "the driver domain does not allow it any more"),
        (errno.EPERM, "the link is not secure enough any more"),
        (errno.EIO, "EIO"),
        (-7, "error -7"),
    ],
)
def test_errors_of_data_rings(number: int, reason: str) -> None:
    error = closed(number)
    assert (error.errno, error.reason, str(error)) == (number, reason, reason)


def test_a_lost_channel_is_both() -> None:
    assert issubclass(errors.ChannelLost, errors.ChannelClosed)
    assert issubclass(errors.ChannelLost, errors.AdapterGone)
    assert issubclass(errors.ChannelLost, ConnectionError)


def test_they_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(closed(errno.ENOTCONN)))
    assert (type(error), error.reason) == (errors.ChannelClosed, "the peer disconnected")
