"""The one exception of all that opens a Xen device."""

import errno
import os

from usbbtd.abi._xen import ffi
from usbbtd.identifiers import LAST_DOMID


class XenError(OSError):
    """A call of a Xen library failed. ``errno``: as the library set it.

    The message names the path, domain, reference, port or device.
    """

    @classmethod
    def last(cls, what: str) -> "XenError":
        """Returns the error of the call that has just failed. ``what``: a clause such as "cannot read a/b"."""
        code = ffi.errno
        return cls(code, f"{what}: {os.strerror(code)}")

    @property
    def forbidden(self) -> bool:
        """Tells whether this domain, or this user, is one that may not do that."""
        return self.errno in (errno.EACCES, errno.EPERM)

    def __str__(self) -> str:
        return str(self.strerror)  # without the number that OSError puts in front: it ends with that number's text


def checked_domid(domid: int) -> int:
    """Returns a domain's number. Raises XenError (EINVAL) if no domain can have it: Xen would cut it off."""
    if not 0 <= domid <= LAST_DOMID:
        raise XenError(errno.EINVAL, f"no domain has the number {domid}")
    return domid
