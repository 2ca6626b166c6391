"""Gives a program in a guest the Bluetooth adapter that a driver domain shares with this guest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from errno import ECONNREFUSED

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import CID_ATT, LE, parse_address
from usbbtd.guest.ad import check_uuid
from usbbtd.guest.address import ADDRESS_TYPES, TRANSPORTS, AddressType, Transport
from usbbtd.guest.advertising import advertising
from usbbtd.guest.agent import IO_CAPABILITIES, Agent, Answering, Ended, IoCapability
from usbbtd.guest.arguments import (
    check_bytes,
    check_channel,
    check_flag,
    check_integer,
    check_mtu,
    checked_timeout_s,
    number_of,
)
from usbbtd.guest.channel import Channel, Listener, open_channel, ring_order
from usbbtd.guest.discovery import Discovery, Filter
from usbbtd.guest.errors import L2capRefused
from usbbtd.guest.pairing import OOB_SIZES, Paired, pair
from usbbtd.guest.remote import RemoteObject, knows, require
from usbbtd.guest.scan import ReportRing, Scan
from usbbtd.guest.security import LEVELS, SecurityLevel
from usbbtd.guest.upkeep import ConnectedAdapter
from usbbtd.l2capif.checks import INTERVALS_MS, LONGEST_PAIR_TIMEOUT_MS, LONGEST_TIMEOUT_MS
from usbbtd.l2capif.features import KNOWS_FIXED, KNOWS_SECURITY
from usbbtd.l2capif.nodes import FEATURE_ECHO
from usbbtd.l2capif.wire import EchoResponse, PlainResponse

DEFAULT_MTU = 2048
#: The most data that ``Adapter.echo`` sends, in bytes.
MAX_ECHO: int = constants.L2CAPIF_ECHO_DATA_SIZE
#: The most bytes of advertising data, and of a scan response.
MAX_AD_DATA: int = constants.L2CAPIF_EXTENDED_DATA_SIZE
_U16_MAX = 0xFFFF
_LONGEST_ATT_PDU = 517  # that of an attribute of 512 octets: Vol 3, Part F, 3.2.9


class Adapter(ConnectedAdapter):
    """The adapter of a device; ``open_adapter`` makes it. It connects again when the driver domain's service restarts.

    All that was open has failed then: channels with ChannelLost; listeners, scans and pending calls with AdapterGone.
    The program has to open it again, after ``await adapter.wait_ready()``.
    """

    async def connect(
        self,
        address: str,
        psm: int,
        *,
        address_type: AddressType = "bredr",
        security: SecurityLevel = "none",
        mtu: int = DEFAULT_MTU,
        timeout: float | None = 10.0,
    ) -> Channel:
        """Opens a channel to a PSM (BR/EDR) or SPSM (LE) of a peer. ``mtu``: the longest SDU to receive, in bytes.

        ``security``: how secure the link has to be before the peer is asked for the channel. The key of a bond is used
        if this guest has one; otherwise it is paired, if the program has an ``agent`` open.

        Raises L2capRefused, ConnectTimeout (after ``timeout`` seconds; 60 at most, and with None), NotSecure,
        PermissionDenied, LimitReached, NoController, AdapterGone; AdapterError with EOPNOTSUPP if usbbtd in the driver
        domain is too old for ``security``; ValueError or TypeError if an argument is not legal.
        """
        le = number_of(ADDRESS_TYPES, address_type, "address_type") != ADDRESS_TYPES["bredr"]
        check_channel(TRANSPORTS["le" if le else "bredr"], psm, mtu)
        return await self._open(address, address_type, psm, security, mtu, timeout)

    async def open_att(
        self,
        address: str,
        *,
        address_type: AddressType,
        security: SecurityLevel = "none",
        mtu: int = _LONGEST_ATT_PDU,
        timeout: float | None = 10.0,
    ) -> Channel:
        """Opens the ATT channel of an LE peer, for a GATT client on top: its SDUs are ATT's PDUs.

        ``address_type``: "public" or "random". ``mtu``: the longest PDU to receive, in bytes; the peer sends up to 23
        until both have agreed on more by ATT itself. One guest at a time has it with a peer: others get AdapterError
        with EADDRINUSE. ``security``, and what it raises: as ``connect``.
        """
        if number_of(ADDRESS_TYPES, address_type, "address_type") == ADDRESS_TYPES["bredr"]:
            raise ValueError("ATT has a channel of its own on LE only: address_type is public or random")
        check_mtu(LE, mtu)
        return await self._open(address, address_type, CID_ATT, security, mtu, timeout, fixed=True)

    async def _open(
        self, address: str, address_type: AddressType, psm: int, security: SecurityLevel, mtu: int,
        timeout: float | None, *, fixed: bool = False,
    ) -> Channel:  # fmt: skip
        peer, kind = parse_address(address), ADDRESS_TYPES[address_type]
        level = number_of(LEVELS, security, "security")
        timeout_s = checked_timeout_s(timeout, LONGEST_TIMEOUT_MS)
        what = f"connect to {address}, {'CID' if fixed else 'PSM'} 0x{psm:04x}"
        connection = self._current()
        if fixed:
            require(knows(connection, KNOWS_FIXED), what)
        if level:
            require(knows(connection, KNOWS_SECURITY), f"{what}, {security}")
        return await open_channel(
            connection,
            mtu,
            lambda core, ref, port: core.connect(
                peer, kind, psm, mtu=mtu, ref=ref, evtchn=port, security=level, timeout_s=timeout_s, fixed=fixed
            ),
            what,
            le=kind != ADDRESS_TYPES["bredr"],
            fixed=fixed,
        )

    async def pair(
        self,
        address: str,
        *,
        address_type: AddressType = "bredr",
        security: SecurityLevel = "encrypted",
        oob: bytes = b"",
        timeout: float | None = 60.0,
    ) -> Paired:
        """Pairs with a peer, also with one that is bonded, and returns what came of it.

        The driver domain keeps the key, and this guest may use it from then on. What there is to ask is asked of the
        ``agent`` that the program has to have open. ``security``: the least that is wanted of it. ``oob``: what came
        from an LE peer in another way, such as NFC: 32 bytes of Secure Connections (its confirm value, then its random
        value), or 16 of legacy pairing (the temporary key), least significant first; no agent is needed then.

        Raises NotSecure if that fails or reaches less; ConnectTimeout, after ``timeout`` seconds with the time that the
        user takes (120 at most, and with None); PermissionDenied, LimitReached, NoController, AdapterGone; AdapterError
        with EOPNOTSUPP if usbbtd in the driver domain is too old; ValueError or TypeError if an argument is not legal.
        """
        peer, kind = parse_address(address), number_of(ADDRESS_TYPES, address_type, "address_type")
        level = number_of(LEVELS, security, "security")
        timeout_s = checked_timeout_s(timeout, LONGEST_PAIR_TIMEOUT_MS)
        if len(oob := check_bytes("oob", oob)) not in OOB_SIZES:
            raise ValueError(f"{len(oob)} bytes of out-of-band data: there are 16 or 32")
        what = f"pair with {address}"
        return await pair(self._current(), peer, kind, what, level=level, oob=oob, timeout_s=timeout_s)

    def agent(
        self, answer: Answering, *, io_capability: IoCapability = "keyboard_display", ended: Ended | None = None
    ) -> Agent:
        """Returns an agent, for pairing: ``async with adapter.agent(answer): ...``

        While it is open, ``connect``, ``pair`` and peers that begin by themselves may pair, as far as policy lets them.
        ``answer`` is awaited with each Prompt, several at a time, and returns the answer that Prompt describes; it is
        cancelled when none counts any more. A prompt for which it raises, or returns what is no answer, is refused, and
        the event loop's exception handler is told. ``io_capability``: what its user can do: "none" for neither, which
        makes no pairing "authenticated". ``ended`` is called with each Prompt that ended otherwise than by its answer,
        and why the pairing failed, "" if it did not.

        Opening it raises PermissionDenied, LimitReached (one agent at a time), AdapterGone; AdapterError with
        EOPNOTSUPP if the controller cannot pair, or usbbtd in the driver domain is too old.
        """
        number = number_of(IO_CAPABILITIES, io_capability, "io_capability")
        return Agent(self._current(), answer, number, ended)

    async def echo(self, address: str, data: bytes = b"", *, timeout: float | None = 10.0) -> bytes:
        """Asks a BR/EDR device for its L2CAP echo, which every one has, and returns the data that it answers with.

        ``data``: up to MAX_ECHO bytes. A device may answer with others, or none: that it answers says that it is there.
        Of a longer answer only the first MAX_ECHO bytes are returned. Raises L2capRefused if the device rejects the
        request, ConnectTimeout as ``connect`` does, PermissionDenied, LimitReached, NoController, AdapterGone;
        AdapterError with EOPNOTSUPP if usbbtd in the driver domain is too old; ValueError or TypeError if an argument
        is not legal.
        """
        peer, what = parse_address(address), f"echo of {address}"
        timeout_s = checked_timeout_s(timeout, LONGEST_TIMEOUT_MS)
        if len(data := check_bytes("data", data)) > MAX_ECHO:
            raise ValueError(f"an echo of {len(data)} bytes; {MAX_ECHO} fit")
        connection = self._current()
        require(FEATURE_ECHO in connection.features, what, or_else=", or use a PSM that echoes")
        try:
            answer = await RemoteObject(connection, lasting=False).create(
                lambda core: core.echo(peer, data, timeout_s=timeout_s), EchoResponse, what
            )
        except L2capRefused:
            raise L2capRefused(ECONNREFUSED, f"{what}: the peer rejects it", 0, "command not understood") from None
        return answer.data[: answer.length]

    async def listen(
        self,
        psm: int,
        *,
        transport: Transport = "bredr",
        security: SecurityLevel = "encrypted",
        mtu: int = DEFAULT_MTU,
        backlog: int = 4,
    ) -> Listener:
        """Listens on a PSM (SPSM on LE) for this guest. ``backlog``: how many peers may wait for an ``accept``.

        ``security``: how secure the link of a peer has to be; others are refused, or made so, which takes a bond or an
        ``agent``. With "none" anybody may come. ``mtu``: the longest SDU to receive, in bytes. LE peers only come while
        the adapter advertises: see ``advertise``. Raises PermissionDenied, LimitReached, AdapterGone; AdapterError with
        EADDRINUSE if another listener has the PSM, with EOPNOTSUPP if usbbtd in the driver domain is too old for
        ``security``; ValueError or TypeError if an argument is not legal.
        """
        number, level = number_of(TRANSPORTS, transport, "transport"), number_of(LEVELS, security, "security")
        check_channel(number, psm, mtu)
        check_integer("backlog", backlog, 0, _U16_MAX)
        connection, what = self._current(), f"listen on PSM 0x{psm:04x}"
        if level:
            or_else = ', or listen with security "none"'
            require(knows(connection, KNOWS_SECURITY), f"{what}, {security}", or_else)
        ring_order(mtu, connection.max_page_order)  # what no ring holds cannot be accepted
        remote = RemoteObject(connection)
        await remote.create(
            lambda core: core.listen(number, psm, mtu=mtu, backlog=backlog, security=level), PlainResponse, what
        )
        return Listener(remote, psm, mtu, le=transport == "le")

    def scan(self, *, active: bool = True, duplicates: bool = False) -> Scan:
        """Returns a scan, which gives LE advertising reports: ``async for report in adapter.scan(): ...``

        ``active``: whether to ask advertisers for their scan responses. ``duplicates``: whether to report every
        advertisement, instead of every advertiser. Raises AdapterGone.
        """
        check_flag("active", active)
        check_flag("duplicates", duplicates)
        return Scan(self._current(), active=active, duplicates=duplicates)

    def report_ring(self, transport: Transport) -> ReportRing:
        """Returns a scan of a transport whose reports are those of l2capif, for who passes them on.

        Raises AdapterGone; ValueError if there is no such transport.
        """
        return ReportRing(self._current(), number_of(TRANSPORTS, transport, "transport"))

    def discover(
        self,
        *,
        service: str | int | None = None,
        manufacturer: int | None = None,
        name: str | None = None,
        transports: Sequence[Transport] | None = None,
        active: bool = True,
        every: bool = False,
    ) -> Discovery:
        """Returns what discovers devices, on BR/EDR by inquiry and on LE by scanning; what is known of each is merged.

        ``async with adapter.discover() as devices: async for device in devices: ...`` goes on until it is left.
        ``service``, ``manufacturer``, ``name``: only those with this UUID (0x180F, or text), this company, these
        letters somewhere in the name. ``transports``: those of the controller where it is None. ``active``: whether to
        ask LE devices for scan responses, and BR/EDR devices that have not said their names for these. ``every``:
        whether to give a device with each report, as its ``rssi`` changes, instead of when it says something new.

        Raises NoController, AdapterGone; AdapterError with EOPNOTSUPP if usbbtd in the driver domain is too old;
        opening it PermissionDenied, LimitReached (it takes a scan for each transport); ValueError or TypeError if an
        argument is not legal.
        """
        check_flag("active", active)
        check_flag("every", every)
        if manufacturer is not None:
            check_integer("manufacturer", manufacturer, 0, _U16_MAX)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name is {name!r:.40}: it must be text")
        uuid = None if service is None else check_uuid(service)
        wanted = Filter(uuid, manufacturer, None if name is None else name.lower())
        connection = self._current()
        chosen = [each for each in TRANSPORTS if each in self.info.features] if transports is None else transports
        for each in chosen:
            number_of(TRANSPORTS, each, "transport")
        return Discovery(connection, chosen, wanted, active=active, every=every)

    @asynccontextmanager
    async def advertise(
        self, data: bytes = b"", *, scan_response: bytes = b"", interval_ms: int = 100, connectable: bool = True
    ) -> AsyncIterator[None]:
        """Advertises on LE while the block runs, with ``data``, which are AD structures.

        ``scan_response``: more of them, for who asks. Up to 31 bytes of each can always be sent. More, MAX_AD_DATA at
        most, needs a controller of Bluetooth 5 and is heard by such devices alone; then there is one of the two only,
        and no scan response that is ``connectable``. ``interval_ms``: 20 to 10240. The advertising ends, too, when the
        adapter goes away, and does not start again by itself. Other guests may advertise meanwhile, in turns if the
        controller can do no better. Raises PermissionDenied, LimitReached, AdapterGone; AdapterError with EOPNOTSUPP if
        the adapter cannot advertise that, or usbbtd in the driver domain is too old; ValueError or TypeError if an
        argument is not legal.
        """
        data, scan_response = check_bytes("data", data), check_bytes("scan_response", scan_response)
        check_integer("interval_ms", interval_ms)
        check_flag("connectable", connectable)
        if max(len(data), len(scan_response)) > MAX_AD_DATA:
            raise ValueError(f"{max(len(data), len(scan_response))} bytes of advertising data; {MAX_AD_DATA} fit")
        if interval_ms not in INTERVALS_MS:
            raise ValueError(f"an advertising interval of {interval_ms} ms: it is 20 to 10240")
        async with advertising(self._current(), data, scan_response, interval_ms=interval_ms, connectable=connectable):
            yield
