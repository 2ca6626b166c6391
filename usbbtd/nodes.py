"""The names of xenstore nodes that do not depend on a device's protocol, as Xen's toolstacks and xenbus have them.

A path that does not begin with a slash is relative to the home of a domain: ``home(domid)``.
"""

from typing import NamedTuple

DOMAINS = "/local/domain"
#: libxl's records of each domain, which are for dom0 only.
RECORDS = "/libxl"

# In the home of a domain
NAME = "name"
DOMID = "domid"
ERRORS = "error"

# In the directory of a device, at both ends
STATE = "state"

# In the frontend's directory: the backend's directory and domain
BACKEND = "backend"
BACKEND_ID = "backend-id"

# In the backend's directory: the frontend's directory and domain; "0" when the toolstack takes the device away
FRONTEND = "frontend"
FRONTEND_ID = "frontend-id"
ONLINE = "online"


class DeviceClass(NamedTuple):
    """A class of devices: the directories that hold its frontends and its backends."""

    frontends: str
    backends: str

    def frontend_path(self, devid: int) -> str:
        """Returns the directory of a device in the home of its frontend."""
        return f"{self.frontends}/{devid}"

    def backend_path(self, frontend_domid: int, devid: int) -> str:
        """Returns the directory of a device in the home of its backend."""
        return f"{self.backends}/{frontend_domid}/{devid}"


def home(domid: int) -> str:
    """Returns the directory of a domain."""
    return f"{DOMAINS}/{domid}"


def error_directory(path: str) -> str:
    """Returns the directory in which the domain of a device's end, at ``path``, reports errors of the device."""
    return f"{ERRORS}/{path}"


def error_path(path: str) -> str:
    """Returns the node in ``error_directory`` that says why the device was closed: "<errno> <message>"."""
    return f"{error_directory(path)}/error"
