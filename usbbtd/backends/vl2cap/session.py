"""What the parts of a guest's connection have in common, and an object of the guest, whatever serves it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Protocol

from structlog.typing import FilteringBoundLogger

from usbbtd.backends.access import Access, Grant
from usbbtd.backends.vl2cap.errors import FAILURES, failure_of
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.l2capif.backend import Backend
from usbbtd.l2capif.calls import AdvertiseCall, AdvertiseExtendedCall, AgentCall, ListenCall, ScanCall
from usbbtd.radio.adapter import SharedAdapter

if TYPE_CHECKING:
    from usbbtd.backends.vl2cap.agents import GuestAgent

#: Maps a data ring: from its grant reference, its event channel, and what is called at an event.
MapRing = Callable[[int, int, Callable[[], None]], GuestStream]


#: Calls that make an object, and are answered at once.
MakingCall = ListenCall | ScanCall | AdvertiseCall | AdvertiseExtendedCall | AgentCall


class GuestSession:
    """Gives the parts of a guest's connection what they need. ``core`` has the only book of the guest's objects.

    ``answer`` does what the core asks for, and sends what it answers; ``failed`` takes an exception that is a fault of
    ours, not of the guest. ``guest``: its name, whose bonds are; "" if it has none. ``read_page`` copies a page that it
    grants.
    """

    def __init__(
        self, core: Backend, *, guest: str, adapter: SharedAdapter, access: Access, map_ring: MapRing,
        read_page: Callable[[int], bytes], answer: Callable[[], None], failed: Callable[[Exception], None],
        log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self.core = core
        self.guest = guest
        self.agent: GuestAgent | None = None  # the guest's, while it has one that is open
        self.counts = Counter(prompts=0, prompts_refused=0, answers_ignored=0)
        self.read_page = read_page
        self.adapter = adapter
        self.access = access
        self.map_ring = map_ring
        self.answer = answer
        self.failed = failed
        self.log = log

    def fail(self, req_id: int, error: BaseException) -> None:
        """Has a call answered that has failed with one of FAILURES."""
        code, result, status, why, needed = failure_of(error)
        self.core.fail(req_id, code, result=result, status=status, why=why, needed=needed)

    def make(self, call: MakingCall, decide: Callable[[], Grant], serve: "Callable[[GuestObject], None]") -> None:
        """Makes an object and answers its call. ``decide`` asks policy; ``serve`` gives the object its server."""
        try:
            made = GuestObject(self, call.id, decide())
            try:
                serve(made)
            except BaseException:
                made.close()
                raise
        except FAILURES as error:
            self.fail(call.req_id, error)
        else:
            self.core.serve(call.id, made)
            self.core.complete(call.req_id)

    def run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Starts a task; what it raises is a fault of ours."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._check)
        return task

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.failed(error)


class ObjectServer(Protocol):
    """Serves one object of a guest: a channel, a listener, a scan, an advertisement or an echo."""

    def close(self) -> None:
        """Ends what the guest has of it. Called once."""


class GuestObject:
    """An object that a guest has made: its id, policy's grant of it, and what serves it: None before and after that."""

    def __init__(self, session: GuestSession, number: int, grant: Grant) -> None:
        self.grant = grant
        self.server: ObjectServer | None = None
        self._session = session
        self._number = number

    def ended(self, reason: str) -> None:
        """Reports that the object has ended by itself; the guest may read its ring until it releases the object."""
        self.grant.close()
        self._session.log.info("object ended", object=self._number, reason=reason)
        self._session.core.end_object(self._number)

    def close(self) -> None:
        """Ends what serves the object, which is forgotten, and gives the grant back. Idempotent."""
        server, self.server = self.server, None
        try:
            if server is not None:
                server.close()
        finally:
            self.grant.close()
