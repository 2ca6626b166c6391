"""What a process has open of Xen: xenstore, event channels and grants, opened and closed together."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Protocol, Self

from usbbtd.xen.evtchn import EventChannels
from usbbtd.xen.grant import Grants
from usbbtd.xen.store import Store


class EventPort(Protocol):
    """An event channel, as the ends of rings use it."""

    @property
    def port(self) -> int: ...
    def notify(self) -> None: ...
    def close(self) -> None: ...


class EventPorts(Protocol):
    """What the ends of rings need of ``EventChannels``."""

    def bind_unbound(self, domid: int, handler: Callable[[], None], /) -> EventPort: ...
    def bind_interdomain(self, domid: int, remote_port: int, handler: Callable[[], None], /) -> EventPort: ...
    def call_soon(self, callback: Callable[[], None], /) -> None: ...


class SharedMemory(Protocol):
    """What the ends of rings need of a ``Xen``: a compiled end takes whatever has these two."""

    @property
    def evtchn(self) -> EventPorts: ...
    @property
    def grants(self) -> Grants: ...


class Xen(NamedTuple):
    """All that the ends of devices need: ``async with Xen.open() as xen: ...``"""

    store: Store
    evtchn: EventChannels
    grants: Grants

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Opens all three; closes them when the block ends, after which no page and no port of ours is left.

        Raises XenError if xenstored cannot be reached, or if there is no device for event channels. Those for grants
        are opened when they are first needed.
        """
        async with AsyncExitStack() as stack:
            store = await Store.open()
            stack.push_async_callback(store.close)
            evtchn = EventChannels()
            stack.callback(evtchn.close)
            grants = Grants()
            stack.callback(grants.close)
            yield cls(store, evtchn, grants)
