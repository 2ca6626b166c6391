"""One process may be a domain's driver of what it is given: a lock on what leads to xenstored."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

_DEVICE = "/dev/xen/xenbus"


class ClaimError(Exception):
    """Another process has it: says so."""


@contextlib.contextmanager
def claim_domain() -> Iterator[None]:
    """Has this domain for this process alone as long as it lasts; the lock ends with the process, however that ends.

    A lock on the device, which all processes of a domain have in common, whatever their configuration, user and
    namespaces; where XENSTORED_PATH names a socket, on a file beside it. Does nothing where neither is to be had: then
    there is no store either. Raises ClaimError.
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
