"""What the service manager is told of a service: sd_notify(3)."""

import contextlib

from systemd import daemon


def notify(state: str) -> None:
    """Tells the service manager, if there is one that listens."""
    with contextlib.suppress(OSError):
        daemon.notify(state)
