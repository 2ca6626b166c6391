"""The one exception of everything that opens a Xen device."""

import errno
import os

from usbbtd.abi._xen import ffi
from usbbtd.identifiers import LAST_DOMID


class XenError(OSError):
    """A Xen library refused. ``errno`` as it set it; the message names the path, domain, reference, port or device."""

    @classmethod
    def last(cls, what: str) -> "XenError":
        """For the call that has just failed: what could not be done."""
        code = ffi.errno
        return cls(code, f"{what}: {os.strerror(code)}")

    @property
    def forbidden(self) -> bool:
        """Tells whether this domain, or this user, is one that may not do that."""
        return self.errno in (errno.EACCES, errno.EPERM)

    def __str__(self) -> str:
        return str(self.strerror)  # it ends with the error's text: the number in front, as OSError has it, says no more


def checked_domid(domid: int) -> int:
    """Returns a domain's number as it is. Raises XenError (EINVAL) for no domain's: Xen would cut it."""
    if not 0 <= domid <= LAST_DOMID:
        raise XenError(errno.EINVAL, f"no domain has the number {domid}")
    return domid
