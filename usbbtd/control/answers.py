"""Answers the commands of the control socket that look, each by a method of its own; acts.py has those that act.

A method yields any number of answers; each is a mapping that JSON can carry, and is sent as one line.
"""

import base64
import functools
import os
import resource
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from usbbtd.backends.vl2cap.device import GuestDevice
from usbbtd.backends.vl2cap.info import GuestInfo
from usbbtd.bluetooth import ADDRESS, ADDRESS_TYPES, LAST_HANDLE, SECURITY_LEVELS, format_address
from usbbtd.config import Config
from usbbtd.control.acts import Acts
from usbbtd.control.capture import Captures, LinkFilter
from usbbtd.control.credentials import Credentials
from usbbtd.control.protocol import Message, NextReply, RequestError
from usbbtd.control.xenstore import nodes_below
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.log.processors import RecentEvents, readable_octets
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.security.levels import level_of
from usbbtd.usb.nodes import VUSB
from usbbtd.xen.store import Store

Answer = Mapping[str, Any]
Answering = AsyncGenerator[Answer, None]

#: The directories of xenstore that hold our devices.
DIRECTORIES = (VUSB.frontends, VL2CAP.backends)


class Answers:
    """Answers requests. ``guests`` returns the devices that are served now; ``recent`` keeps the last log events."""

    def __init__(
        self, *, adapter: SharedAdapter, guests: Callable[[], list[GuestDevice]], config: Config, store: Store,
        domid: int, recent: RecentEvents, acts: Acts,
    ) -> None:  # fmt: skip
        self._adapter = adapter
        self._guests = guests
        self._config = config
        self._store = store
        self._domid = domid
        self._recent = recent
        self._acts = acts
        self._captures = Captures(adapter.set_tap)
        self._started = time.monotonic()
        self._log: FilteringBoundLogger = structlog.get_logger()
        self._commands: dict[str, Callable[[], Answering]] = {
            "status": self._status,
            "adapters": self._adapters,
            "guests": self._guest_rows,
            "channels": self._channels,
            "links": self._links,
            "bonds": self._bonds,
            "stats": self._stats,
            "dump": self._dump,
        }

    def ask(self, untrusted: Message, who: Credentials, next_reply: NextReply) -> Answering:
        """Returns a generator of the answers to a request. Raises RequestError, as the generator itself may."""
        command, arguments = untrusted.get("command"), untrusted.keys() - {"command"}
        if command == "capture":
            return self._capture(untrusted, who)
        if isinstance(command, str) and command in self._acts.commands:
            return self._acts.ask(command, untrusted, who, next_reply)
        answer = self._commands.get(command) if isinstance(command, str) else None
        if answer is None:
            known = ", ".join([*self._commands, "capture", *self._acts.commands])
            raise RequestError(f"no such command: {command!r:.40}; there are {known}")
        _check_arguments(arguments, frozenset())
        return answer()

    async def _status(self) -> Answering:
        adapter, guests = self._adapter.info(), [guest.info() for guest in self._guests()]
        yield {
            "version": _version(),
            "pid": os.getpid(),
            "domid": self._domid,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "adapter": adapter.state,
            "address": adapter.address,
            "transports": adapter.transports,
            "missing": adapter.missing,
            "guests": len(guests),
            "guests_connected": sum(guest.connection is not None for guest in guests),
            "links": adapter.links,
            "channels": adapter.channels,
            "listeners": adapter.listeners,
            "scans": adapter.scans,
            **_process(),
        }

    async def _adapters(self) -> Answering:
        yield self._adapter.info()._asdict()

    async def _guest_rows(self) -> Answering:
        for guest in self._guests():
            yield _guest_row(guest.info())

    async def _channels(self) -> Answering:
        for guest in self._guests():
            if (connection := guest.info().connection) is not None:
                for channel in connection.channels:
                    yield channel._asdict()

    async def _links(self) -> Answering:
        for link in self._adapter.links.info():
            yield link._asdict()

    async def _bonds(self) -> Answering:
        """Yields each bond, without its keys. Times are Unix's; ``seen`` is None if the peer was not, since."""
        for bond in self._adapter.security.bonds():
            yield {
                "address": format_address(bond.address),
                "address_type": ADDRESS_TYPES[bond.address_type],
                "security": SECURITY_LEVELS[level_of(bond.keys)],
                "secure_connections": bond.secure_connections,
                "key_size": bond.key_size,
                "guests": sorted(bond.guests),
                "made": bond.made,
                "seen": bond.seen,
                "name": bond.name,
            }

    async def _stats(self) -> Answering:
        """Yields the counters and gauges of the process, of the adapter, and of each connected guest."""
        yield {"of": "process", "values": _process() | {"uptime_s": round(time.monotonic() - self._started, 1)}}
        yield {"of": "adapter", "values": {"up": int(self._adapter.powered), **self._adapter.statistics()}}
        for guest in self._guests():
            info = guest.info()
            if (connection := info.connection) is not None:
                labels = {"domid": info.domid, "devid": info.devid, "name": info.name}
                yield {"of": "guest", **labels, "values": connection.counters | connection.traffic._asdict()}

    async def _dump(self) -> Answering:
        """Yields everything for a bug report, section by section."""
        yield {"section": "versions", "content": _versions()}
        yield {"section": "config", "content": readable(self._config.model_dump())}
        for section, answering in (
            ("status", self._status), ("adapters", self._adapters), ("links", self._links),
            ("guests", self._guest_rows), ("channels", self._channels), ("bonds", self._bonds),
            ("stats", self._stats),
        ):  # fmt: skip
            yield {"section": section, "content": [answer async for answer in answering()]}
        for directory in DIRECTORIES:
            yield {"section": f"xenstore {directory}", "content": await nodes_below(self._store, directory)}
        yield {"section": "log", "content": self._recent.events()}

    async def _capture(self, untrusted: Message, who: Credentials) -> Answering:
        """Yields records of a btsnoop file, in base64, until the client goes."""
        _check_arguments(untrusted.keys() - {"command"}, frozenset({"link", "payload"}))
        payload, untrusted_link = untrusted.get("payload", True), untrusted.get("link")
        if not isinstance(payload, bool):
            raise RequestError("payload: true or false")
        links = None if untrusted_link is None else self._link_filter(untrusted_link)
        with self._captures.open(links, payload=payload) as capture:
            self._log.info("capture started", uid=who.uid, pid=who.pid, link=untrusted_link or "all", payload=payload)
            try:
                while True:
                    records, count = await capture.take()
                    yield {"records": base64.b64encode(records).decode(), "count": count, "dropped": capture.dropped}
            finally:
                self._log.info("capture ended", uid=who.uid, pid=who.pid, dropped=capture.dropped)

    def _link_filter(self, untrusted: object) -> LinkFilter:
        links = self._adapter.links.info()
        if isinstance(untrusted, int) and not isinstance(untrusted, bool) and 0 <= untrusted <= LAST_HANDLE:
            if untrusted not in {link.handle for link in links}:
                raise RequestError(f"no link has handle 0x{untrusted:04x}")
            return LinkFilter({untrusted}, None)
        if isinstance(untrusted, str) and ADDRESS.fullmatch(untrusted):
            handles = {link.handle for link in links if link.address == untrusted.upper()}
            return LinkFilter(handles, bytes.fromhex(untrusted.replace(":", ""))[::-1])
        raise RequestError("link: a handle, or an address such as C0:FF:EE:00:00:01")


def _check_arguments(untrusted: set[str], known: frozenset[str]) -> None:
    if unknown := untrusted - known:
        raise RequestError(f"no such argument: {min(unknown)!r:.40}")


def _guest_row(guest: GuestInfo) -> Answer:
    """Returns a guest's row: the facts of its connection beside its own; without a connection they are left out."""
    row = guest._asdict()
    if (connection := row.pop("connection")) is None:
        return row | {"connected": False}
    return row | {
        "connected": True,
        "channels": len(connection.channels),
        "listeners": [listener._asdict() for listener in connection.listeners],
        "scans": [scan._asdict() for scan in connection.scans],
        "advertising": connection.advertising,
        "agent": connection.agent,
        **connection.traffic._asdict(),
        "counters": connection.counters,
    }


def readable(value: Any) -> Any:
    """Returns settings in a form that JSON can carry."""
    if isinstance(value, dict):
        return {key: readable(inner) for key, inner in value.items()}
    if isinstance(value, Path):
        return str(value)
    return readable_octets(value) if isinstance(value, bytes) else value


def _process() -> dict[str, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * resource.getpagesize()
    return {"cpu_s": round(usage.ru_utime + usage.ru_stime, 3), "memory_bytes": resident}


@functools.cache
def _version() -> str:
    from importlib import metadata  # here: it takes longer to import than all of this package

    return metadata.version("usbbtd")


def _versions() -> dict[str, str]:
    import platform
    from importlib import metadata

    from cryptography import __version__ as cryptography  # linked to the distribution's, it has no metadata here

    libraries = ("cffi", "libusb1", "pydantic", "structlog", "systemd-python")
    return {
        "usbbtd": _version(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cryptography": cryptography,
        **{name: metadata.version(name) for name in libraries},
    }
