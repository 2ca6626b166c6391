"""Errors that tell people why a device was not attached or detached. xenstore then is as it was before."""


class ToolstackError(Exception):
    """The base of these errors: nothing was changed, or all changes were undone."""


class BadSpec(ToolstackError):
    """The device that was asked for is malformed or impossible."""


class NoDomain(ToolstackError):
    """There is no such domain."""


class AlreadyAttached(ToolstackError):
    """The guest has a device of this number already, or as many devices as it can have."""


class NoDevice(ToolstackError):
    """The guest has no such device."""


class BackendSilent(ToolstackError):
    """No program in the backend domain took the device up in time."""


class BackendClosed(ToolstackError):
    """The backend refused the device."""


class NoXen(ToolstackError):
    """xenstore cannot be reached."""
