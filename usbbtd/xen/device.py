"""Follows one xenbus device from our side for its whole life.

The pump of a device class knows how to publish, offer, attach and detach; *when* that happens is decided by
``usbbtd.xenbus.Handshake`` from the states of both ends. This object stands between: it reads and watches xenstore,
asks the handshake, has the pump act, and writes what the pump returns in one transaction with our new state.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from usbbtd import xenbus
from usbbtd.errors import RemoteProtocolError
from usbbtd.identifiers import parse_domid, parse_u32
from usbbtd.nodes import BACKEND, BACKEND_ID, DOMID, FRONTEND, FRONTEND_ID, ONLINE, STATE
from usbbtd.xen.error import XenError
from usbbtd.xen.error_node import ErrorNode
from usbbtd.xen.store import Store
from usbbtd.xen.transaction import Transaction
from usbbtd.xenbus import Action, Handshake, Role

#: Performs one action. Returns the nodes of our directory to be written together with our new state. DETACH comes
#: whenever a connection ends or an attempt failed, perhaps more than once, and with nothing to undo. If another action
#: raises XenError or RemoteProtocolError, the device is closed from our side.
Perform = Callable[[Action], Awaitable[Mapping[str, str] | None]]

#: The nodes that name the other end's directory and domain.
_LINKS = {"frontend": (BACKEND, BACKEND_ID), "backend": (FRONTEND, FRONTEND_ID)}
#: After a failure the device stays Closed for a while: two ends that can never agree must not keep xenstored busy.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 10.0
#: How often a backend looks again for a frontend that it cannot see: no watch tells when a domain is gone.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.1, 10.0
#: How long each write of the last states may take when we leave a device: xenstored may be gone for good.
_GOODBYE_S = 2.0
#: How long a backend that lingers waits for its frontend to close: as long as a toolstack waits for a backend.
_LINGER_S = 10.0


class XenbusDevice:
    """Our end of a device, whose nodes are under ``path``: ``device/vl2cap/0`` or ``backend/vl2cap/3/0``.

    ``other_path``, ``other_domid``: the other end's directory and domain as the toolstack wrote them; known when the
    first action is performed. ``reason``: why we closed the last connection, "" if we did not; dom0 finds it in
    xenstore until there is another connection: see ``ErrorNode``.
    ``lingers``: see ``Handshake``. ``is_gone``: returns whether there is no domain of this number any more; nothing
    else tells a backend that a frontend whose state it cannot read is gone.
    """

    def __init__(
        self, store: Store, role: Role, path: str, *, lingers: bool = False,
        is_gone: Callable[[int], bool] = lambda domid: False,
    ) -> None:  # fmt: skip
        self.role = role
        self.path = path
        self.other_path = ""
        self.other_domid = -1
        self.reason = ""
        self._store = store
        self._error_node = ErrorNode(store, path)
        self._error_code = 0  # of ``reason``
        self._handshake = Handshake(role, lingers=lingers)
        self._wake = asyncio.Event()
        self._failed = False
        self._pause_s = _FIRST_PAUSE_S
        self._closed_until = 0.0  # by the loop's clock
        self._is_gone = is_gone
        self._look_s = _FIRST_LOOK_S
        self._next_look: asyncio.TimerHandle | None = None
        self._write_limit_s: float | None = None

    @property
    def state(self) -> int:
        """Returns our XenbusState."""
        return self._handshake.state

    async def run(self, perform: Perform) -> None:
        """Follows the device, through any number of connections, until it is over.

        Returns when our directory is gone or was made anew, perhaps with another domain at the other end; and, as
        backend, when all is closed and the device was taken away (``online`` is 0) or the frontend's domain is gone. A
        frontend that only hides or removes its state is waited for. When cancelled, closes in order before it raises
        CancelledError. However it ends, the last action was DETACH. Raises XenError if there is no such device
        (ENOENT), or if our own domain is at the other end (EINVAL).
        """
        await self._load()
        watched = [f"{self.path}/{STATE}", f"{self.other_path}/{STATE}"]
        if self.role == "backend":
            watched.append(f"{self.path}/{ONLINE}")
        async with self._store.watch(*watched) as changes:
            watcher = asyncio.create_task(self._follow(changes))
            try:
                while await self._advance(perform):
                    await self._wake.wait()
                    self._wake.clear()
                    if watcher.done():
                        watcher.result()  # the watch was refused when the store was connected again
            finally:
                self._write_limit_s = _GOODBYE_S
                try:
                    with contextlib.suppress(TimeoutError):
                        await self._finish(perform)
                finally:
                    watcher.cancel()
                    if self._next_look is not None:
                        self._next_look.cancel()
        await self._error_node.remove()

    def fail(self, reason: str) -> None:
        """Closes the connection because the other end broke a rule. Any handler may call it.

        DETACH follows, and later a new attempt.
        """
        if not self.reason:
            self.reason, self._error_code = reason, errno.EPROTO
        self._failed = True
        self._wake.set()

    async def read_own(self, node: str) -> str | None:
        """Returns a node of our directory, or None if there is no such node."""
        return await self._store.read(f"{self.path}/{node}")

    async def read_other(self, node: str) -> str | None:
        """Returns a node of the other end's directory, or None if there is no such node. The text is untrusted."""
        return await self._store.read(f"{self.other_path}/{node}")

    async def read_other_int(self, node: str, lowest: int, highest: int, default: int | None = None) -> int:
        """Returns a decimal number, of 32 bits at most, from a node of the other end's directory.

        Raises RemoteProtocolError if it is no number, out of range, or missing without a ``default``.
        """
        untrusted_text = await self.read_other(node)
        if untrusted_text is None and default is not None:
            return default
        number = parse_u32(untrusted_text)
        if number is None or not lowest <= number <= highest:
            raise RemoteProtocolError(
                f"{self.other_path}/{node} is {untrusted_text!r:.40}, not a number from {lowest} to {highest}"
            )
        return number

    async def _load(self) -> None:
        other, other_id = _LINKS[self.role]
        nodes = (self._link, f"{self.path}/{other_id}", f"{self.path}/{STATE}", DOMID)
        path, domid, state, own_domid = await self._store.transaction(lambda t: [t.read(node) for node in nodes])
        if path is None or domid is None:
            raise XenError(errno.ENOENT, f"{self.path}: the device is not attached: it names no {other}")
        if (number := parse_domid(domid)) is None:
            raise XenError(errno.ENOENT, f"{self.path}/{other_id} is {domid!r:.40}, the number of no domain")
        if domid == own_domid:
            raise XenError(errno.EINVAL, f"{self.path}: a device between domain {domid} and itself")
        self.other_path, self.other_domid = path, number
        found = xenbus.parse_state(state)
        if state != str(found):
            found = xenbus.UNKNOWN  # not as we write it: the other end might read another number
        self._handshake = Handshake.adopt(self.role, found, lingers=self._handshake.lingers)
        if found != self.state:
            await self._store.transaction(self._write_first)

    def _write_first(self, transaction: Transaction) -> None:
        """Writes our first state, if the directory still names the same other end."""
        if transaction.read(self._link) == self.other_path:
            transaction.write(f"{self.path}/{STATE}", str(self.state))

    async def _follow(self, changes: AsyncIterator[str]) -> None:
        try:
            async for _ in changes:
                self._wake.set()
        finally:
            self._wake.set()

    async def _advance(self, perform: Perform) -> bool:
        """Does all that the states of both ends ask for now. Returns False if the device is over."""
        while True:
            ours, other, online = await self._look()
            if not ours:
                return False
            action = self._handshake.send_close() if self._failed else None
            self._failed = False
            action = action or self._handshake.receive_state(other, online)
            if action is Action.REMOVE:
                # The toolstack has written Closing there and waits for Closed.
                await self._write(xenbus.CLOSED, {})
                return False
            if action is None or self._pausing():
                return True
            await self._do(action, perform)

    def _pausing(self) -> bool:
        loop = asyncio.get_running_loop()
        if self.state != xenbus.CLOSED or loop.time() >= self._closed_until:
            return False
        loop.call_at(self._closed_until, self._wake.set)
        return True

    async def _do(self, action: Action, perform: Perform) -> None:
        state = self._handshake.next_state
        if state == xenbus.CONNECTED:
            self.reason = ""  # now: the connection may fail before its state is written
        try:
            nodes = await perform(action) or {}
        except (XenError, RemoteProtocolError) as exc:
            if action is Action.DETACH:
                raise
            self.reason, self._error_code = str(exc), getattr(exc, "errno", None) or errno.EPROTO
            await perform(Action.DETACH)
            nodes, state = {}, xenbus.CLOSING
        if state == xenbus.CLOSING and self.reason:
            async with asyncio.timeout(self._write_limit_s):
                await self._error_node.write(self._error_code, self.reason)  # before the state that makes dom0 look
        await self._write(state, nodes)
        self._handshake.entered(state)
        if state == xenbus.CONNECTED:
            self._pause_s = _FIRST_PAUSE_S
            await self._error_node.remove()
        elif state == xenbus.CLOSED and self.reason:
            self._closed_until = asyncio.get_running_loop().time() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LAST_PAUSE_S)

    async def _write(self, state: int, nodes: Mapping[str, str]) -> None:
        def work(transaction: Transaction) -> None:
            # A directory that the toolstack has removed must not come back because we write into it.
            if self._is_ours(transaction.read(self._mark)):
                for node, value in nodes.items():
                    transaction.write(f"{self.path}/{node}", value)
                transaction.write(f"{self.path}/{STATE}", str(state))

        try:
            async with asyncio.timeout(self._write_limit_s):
                await self._store.transaction(work)
        except XenError as exc:
            # It may have gone while the transaction ran; nothing of ours may be made there then.
            if exc.errno != errno.EACCES or await self._store.read(self._link) is not None:
                raise

    async def _finish(self, perform: Perform) -> None:
        """Closes the device, whatever ended ``run``: nothing stays shared or mapped, and the other end sees it."""
        if self._handshake.lingers:
            with contextlib.suppress(TimeoutError, XenError):
                async with asyncio.timeout(_LINGER_S):
                    await self._leave(perform)
        if (action := self._handshake.send_close()) is not None:
            await self._do(action, perform)
        if self.state == xenbus.CLOSING:
            await perform(Action.DETACH)
            await self._write(xenbus.CLOSED, {})
            self._handshake.entered(xenbus.CLOSED)

    @property
    def _link(self) -> str:
        """Returns the path of the node that names the other end's directory."""
        return f"{self.path}/{_LINKS[self.role][0]}"

    @property
    def _mark(self) -> str:
        """Returns the path of the node that identifies this device, in case the toolstack replaces it unseen by us.

        A new device is Initialising, so its state tells it from ours, unless ours is Initialising too: then the node
        that names the other end tells.
        """
        return self._link if self.state == xenbus.INITIALISING else f"{self.path}/{STATE}"

    def _is_ours(self, mark: str | None) -> bool:
        """Returns whether a node ``_mark`` with this content is still that of our device."""
        if self.state == xenbus.INITIALISING:
            return mark == self.other_path
        return mark not in (None, str(xenbus.INITIALISING))

    async def _leave(self, perform: Perform) -> None:
        """Closes the device as if the toolstack had taken it away: waits until the frontend has closed."""
        while not self._failed:
            ours, other, _ = await self._look()
            if not ours:
                return
            action = self._handshake.receive_state(other, online=False)
            if action is Action.LEAVE:
                await self._do(action, perform)
            elif action is not None or self.state != xenbus.CLOSING:
                return
            await self._wake.wait()
            self._wake.clear()

    async def _look(self) -> tuple[bool, int | None, bool]:
        """Returns (whether this is still our device, the other end's state or None, whether the device is to stay).

        Uses no transaction: the other end may change its state so often that none would succeed. Writes our state again
        if somebody has changed it, unless ``online`` is 0: then the toolstack did, to tell the frontend to close.
        """
        own = await self.read_own(STATE)
        ours = self._is_ours(own if self._mark != self._link else await self._store.read(self._link))
        try:
            untrusted_text = await self.read_other(STATE)
        except XenError as exc:
            if exc.errno != errno.EACCES:
                raise
            untrusted_text = None
        online = self.role == "frontend" or await self.read_own(ONLINE) != "0"
        if ours and online and own != str(self.state):
            await self._write(self.state, {})
        return ours, self._other_state(untrusted_text), online

    def _other_state(self, untrusted_text: str | None) -> int | None:
        """Returns the other end's state, or None if the other end is gone.

        A guest may hide its node or remove it. The node is hidden, too, when the guest has died: xenstored takes a dead
        domain's rights away, and no watch fires then. So the hypervisor is asked, again and again.
        """
        if untrusted_text is not None:
            self._look_s = _FIRST_LOOK_S
        elif self.role == "frontend" or self._is_gone(self.other_domid):
            return None
        elif self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_later(self._look_s, self._look_again)
            self._look_s = min(2 * self._look_s, _LAST_LOOK_S)
        return xenbus.parse_state(untrusted_text)

    def _look_again(self) -> None:
        self._next_look = None
        self._wake.set()
