"""Why a device was not attached or detached. Each has a sentence for people; xenstore then is as it was before."""


class ToolstackError(Exception):
    """Nothing was changed, or all of it was taken back."""


class BadSpec(ToolstackError):
    """What was asked for is not well formed, or cannot be."""


class NoDomain(ToolstackError):
    """There is no such domain."""


class AlreadyAttached(ToolstackError):
    """The guest has a device of this number."""


class NoDevice(ToolstackError):
    """The guest has no such device."""


class BackendSilent(ToolstackError):
    """Nothing in the backend domain took the device up in time."""


class BackendClosed(ToolstackError):
    """The backend refused the device."""


class NoXen(ToolstackError):
    """There is no xenstore to be reached."""
