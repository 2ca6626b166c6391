"""Claims a domain's devices for one process, by a lock on the way to xenstored."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

_DEVICE = "/dev/xen/xenbus"


class ClaimError(Exception):
    """Another process has the domain."""


@contextlib.contextmanager
def claim_domain() -> Iterator[None]:
    """Keeps this domain for this process during the block; the lock ends with the process, however that ends.

    The lock is on the device, which all processes of a domain share, whatever their configuration, user and namespaces.
    If XENSTORED_PATH names a socket, it is on a file beside that. If neither can be opened nothing is locked: there is
    no store then. Raises ClaimError if another process has the lock.
    """
    socket = os.environ.get("XENSTORED_PATH")
    path, flags = (f"{socket}.lock", os.O_RDWR | os.O_CREAT) if socket else (_DEVICE, os.O_RDWR)
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError:
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClaimError(f"another usbbtd runs in this domain: it has locked {path}") from None
        yield
    finally:
        os.close(descriptor)
