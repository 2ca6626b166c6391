"""Keeps a bug where it is: what one pump raises must end that pump's device, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from usbbtd.xen.error import XenError

P = ParamSpec("P")


class Pump(Protocol):
    """Has methods that others call and that may not raise: event channels, timers, the adapter."""

    @property
    def pump_failed(self) -> Callable[[Exception], None]:
        """Ends what the pump serves. Called with what one of its contained methods raised."""


S = TypeVar("S", bound=Pump)


def contained(method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Makes a method of a pump give what it raises to ``pump_failed`` instead of to its caller."""

    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.pump_failed(error)

    return wraps(method)(call)  # type: ignore[return-value]


def explain(error: Exception) -> dict[str, Any]:
    """Returns the facts of an error for the log: its reason, and its traceback if it is a bug, not Xen's refusal."""
    if isinstance(error, XenError):
        return {"reason": str(error)}
    return {"reason": f"a bug of usbbtd: {error!r}", "exc_info": error}
