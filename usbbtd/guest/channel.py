"""L2CAP channels of a program, and the listeners that accept them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from errno import ENOTCONN
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import format_address
from usbbtd.guest.address import AddressType, address_type_name
from usbbtd.guest.arguments import check_bytes
from usbbtd.guest.connection import Connection
from usbbtd.guest.errors import AdapterError
from usbbtd.guest.remote import RemoteObject
from usbbtd.guest.security import level_name
from usbbtd.l2capif.frontend import Frontend
from usbbtd.l2capif.wire import ChannelResponse, largest_message

#: The types that an SDU to send may have.
Octets: TypeAlias = bytes | bytearray | memoryview

_LENGTH_SIZE: int = constants.L2CAPIF_LENGTH_SIZE
_SDUS_A_HALF = 4  # how many of the largest SDUs a ring should hold each way
_LINGER_S = 1.0  # how long close() waits for a peer to take what was sent


class Peer(NamedTuple):
    """The peer of a channel. ``address``: as in C0:FF:EE:00:00:11."""

    address: str
    address_type: AddressType


class Channel:
    """An open L2CAP channel. SDUs stay whole, and b"" is one.

    ``tx_mtu``: the length in bytes of the longest SDU that may be sent; ``rx_mtu``: of the longest that can come. When
    the channel has ended, all calls raise ChannelClosed with the reason, but receiving first returns what came before.
    If the driver domain's service went away it is ChannelLost, which is an AdapterGone, too.

    ``security``: how secure its link was when it opened: "none", "encrypted", "authenticated" or "secure". It ends if
    the link falls below what it was opened with. ``psm``: of a fixed channel, its CID.
    """

    def __init__(self, remote: RemoteObject, response: ChannelResponse, *, fixed: bool = False) -> None:
        """Is for ``open_channel`` only."""
        self.peer = Peer(format_address(response.address), address_type_name(response.address_type))
        self.psm = response.psm
        self.security = level_name(response.security)
        self._fixed = fixed
        self.tx_mtu = min(response.tx_mtu, remote.stream.max_message)
        self.rx_mtu = response.rx_mtu
        self._remote = remote
        self._stream = remote.stream

    # The calls per SDU hand out the stream's coroutine instead of being one more around it.

    def send(self, sdu: Octets) -> Coroutine[Any, Any, None]:  # hot: per packet
        """Sends one SDU; waits while the way to the peer is full. Raises ValueError if it is longer than ``tx_mtu``.

        Returns when the SDU is on its way, not when the peer has it. Any number of tasks may send.
        """
        return self.send_many((sdu,))

    def send_many(self, sdus: Sequence[Octets]) -> Coroutine[Any, Any, None]:  # hot: per batch
        """Sends SDUs, each bytes, a bytearray or a memoryview, in order, for much less than one ``send`` each."""
        if isinstance(sdus, Octets):
            raise TypeError("sdus is one SDU: it must be a list of them")
        octets = [check_bytes("an SDU", sdu) for sdu in sdus]
        for sdu in octets:
            if len(sdu) > self.tx_mtu:
                raise ValueError(f"an SDU of {len(sdu)} bytes; {self.peer.address} takes {self.tx_mtu} at most")
        return self._stream.send(octets)

    def recv(self) -> Coroutine[Any, Any, bytes]:  # hot: per packet
        """Waits for the next SDU and returns it. One task at a time may wait. Nothing is lost when it is cancelled."""
        return self._stream.receive()

    def recv_many(self) -> Coroutine[Any, Any, list[bytes]]:  # hot: per batch
        """Waits for an SDU and returns all that are there, in order."""
        return self._stream.receive_many()

    async def close(self) -> None:
        """Ends the channel: the peer gets what was sent, if it takes it soon, and a disconnection. Idempotent."""
        try:
            await self._stream.finish(_LINGER_S)
        finally:
            await self._remote.release()

    async def abort(self) -> None:
        """Ends the channel at once: what is still on the way is lost. Idempotent."""
        await self._remote.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self.close() if kind is None else self.abort())

    def __repr__(self) -> str:
        number = "CID" if self._fixed else "PSM"
        return f"<Channel {self.peer.address} ({self.peer.address_type}) {number} 0x{self.psm:04x}>"


class Listener:
    """Listens on a PSM: ``async for channel in listener``, or ``await listener.accept()``.

    It ends with the connection to the driver domain: ``accept`` then raises AdapterGone, and the program has to listen
    again when the adapter is ready again.
    """

    def __init__(self, remote: RemoteObject, psm: int, mtu: int, *, le: bool) -> None:
        """Is for ``Adapter.listen`` only."""
        self.psm = psm
        self._mtu = mtu
        self._le = le
        self._remote = remote
        self._closed = False

    async def accept(self) -> Channel:
        """Waits for the next peer and returns its channel, open. Several tasks may wait.

        Raises AdapterError if the listener was closed, AdapterGone if the driver domain's service went away.
        """
        listener, what = self._remote.number, f"accept on PSM 0x{self.psm:04x}"

        def make(core: Frontend, ref: int, port: int) -> int:
            self._check_open(what)  # again: it may have waited for its turn
            return core.accept(listener, ref=ref, evtchn=port)

        self._check_open(what)
        return await open_channel(self._remote.connection, self._mtu, make, what, le=self._le)

    async def close(self) -> None:
        """Ends the listener; channels that were accepted stay open. Idempotent."""
        self._closed = True
        await self._remote.release()

    def _check_open(self, what: str) -> None:
        if self._closed:
            raise AdapterError(ENOTCONN, f"{what}: the listener was closed")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Channel:
        try:
            return await self.accept()
        except AdapterError:
            if self._closed:
                raise StopAsyncIteration from None
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def open_channel(
    connection: Connection, mtu: int, make: Callable[[Frontend, int, int], int], what: str, *, le: bool,
    fixed: bool = False,
) -> Channel:  # fmt: skip
    """Opens a channel by the request that ``make`` builds with (core, grant reference of the ring, event channel port).

    ``what`` names the request in errors. ``fixed``: it is a fixed one. Raises as ``RemoteObject.create`` does.
    """
    remote = RemoteObject(connection, ring_order(mtu, connection.max_page_order))
    shared = remote.stream.shared
    response = await remote.create(lambda core: make(core, shared.ref, shared.port), ChannelResponse, what, le=le)
    return Channel(remote, response, fixed=fixed)


def ring_order(mtu: int, max_page_order: int) -> int:
    """Returns the order of the smallest ring that holds four of the largest SDUs each way, or ``max_page_order``.

    Raises ValueError if not even one SDU of ``mtu`` bytes fits into that.
    """
    if mtu > (largest := largest_message(max_page_order)):
        raise ValueError(f"an MTU of {mtu}: the driver domain's rings hold SDUs of {largest} bytes at most")
    order: int = constants.L2CAPIF_MIN_RING_ORDER
    while order < max_page_order and largest_message(order) < _SDUS_A_HALF * (mtu + _LENGTH_SIZE) - _LENGTH_SIZE:
        order += 1
    return order
