"""The daemon's ear for toolstacks: one JSON object a line at `directory`/toolstack, answered by one JSON object a line.

{"do": "create", "domid": 3, "name": …}  a domain with the nodes that xl makes
{"do": "destroy", "domid": 3}           its processes must be dead; its nodes go, not those of its devices' other ends
{"do": "store", "remove": [path, …], "write": [[path, value, ["n0", "r3"] or null], …]}
                                        all or nothing; removing takes empty parents along, as libxl does
{"do": "read", "path": …}               {"result": value or null}
{"do": "wait", "path": …, "values": [value or null, …], "timeout_s": …}
                                        until the node has one of these values (null: it is not there)
{"do": "statistics"}                    {"result": {domid: {name: count}}}
Answers: {"result": …}, or {"error": "EEXIST", "message": …}
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog

from tests.sim.hypervisor import Hypervisor
from tests.sim.xenstored.requests import parse_permissions
from tests.sim.xenstored.server import XenStored
from tests.sim.xenstored.tree import PRIVILEGED, TreeTransaction, canonical, parent_of
from tests.sim.xenstored.wire import StoreError
from usbbtd.nodes import DOMID, NAME, RECORDS, home

_LINE_MAX = 1 << 20

# Nodes of a domain as libxl makes them: read-only for it, or its own. `backend` comes with the first device, as dom0's.
_READ_ONLY = ("cpu", "memory", "device", "control")
_ITS_OWN = (
    "device/suspend/event-channel",
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
)

NodeWrite = tuple[str, str, list[str] | None]  # path, value, permissions as ["n0", "r3"]; None: leaves them


log = structlog.get_logger("tests.sim")


class Toolstack:
    def __init__(self, hypervisor: Hypervisor, store: XenStored) -> None:
        self._hypervisor = hypervisor
        self._store = store
        self._clients: set[asyncio.StreamWriter] = set()

    async def listen(self, directory: Path) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, directory / "toolstack", limit=_LINE_MAX)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(json.loads(line))).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:  # ValueError: no JSON, or a line too long
            log.warning("toolstack lost", reason=str(error))
        except asyncio.CancelledError:
            pass  # this daemon ends. asyncio has a traceback for a client's task that ends as cancelled
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": await self._do(request)}
        except StoreError as error:
            return {"error": error.name, "message": f"{error.name}: {request}"}
        except TimeoutError:
            return {"error": "ETIMEDOUT", "message": f"{request}: the node has {self._read(request['path'])!r}"}
        except OSError as error:
            return {"error": errno.errorcode.get(error.errno or 0, "EIO"), "message": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": "EINVAL", "message": f"{error!r}: {request}"}

    async def _do(self, request: dict[str, Any]) -> Any:
        match request["do"]:
            case "create":
                self.create(int(request["domid"]), str(request["name"]))
            case "destroy":
                self._destroy(int(request["domid"]))
            case "store":
                self._store.transact(lambda transaction: _change(transaction, request["remove"], request["write"]))
            case "read":
                return self._read(request["path"])
            case "wait":
                async with asyncio.timeout(request["timeout_s"]):
                    return await self._wait(request["path"], request["values"])
            case "statistics":
                return {domid: self._statistics(domid) for domid in sorted(self._store.store.domains)}
            case unknown:
                raise OSError(errno.ENOSYS, f"no such request: {unknown}")
        return None

    def create(self, domid: int, name: str) -> None:
        top = home(domid)
        read_only = ["n0", f"r{domid}"]
        nodes: list[NodeWrite] = [(top, "", read_only)]
        nodes += [(f"{top}/{DOMID}", str(domid), None), (f"{top}/{NAME}", name, None)]
        nodes += [(f"{top}/{node}", "", read_only) for node in _READ_ONLY]
        nodes += [(f"{top}/{node}", "", [f"n{domid}"]) for node in _ITS_OWN]
        nodes += [(path, "", ["n0"]) for path in (RECORDS, f"{RECORDS}/{domid}", f"{RECORDS}/{domid}/device")]
        self._hypervisor.create_domain(domid)
        self._store.introduce(domid)
        self._store.transact(lambda transaction: _change(transaction, [top], nodes))

    def _destroy(self, domid: int) -> None:
        nodes = [home(domid), f"{RECORDS}/{domid}"]
        self._store.transact(lambda transaction: _change(transaction, nodes, []))
        self._hypervisor.destroy_domain(domid)
        self._store.release(domid)

    def _statistics(self, domid: int) -> dict[str, int]:
        return self._hypervisor.statistics(domid) | self._store.statistics(domid)

    def _read(self, path: str) -> str | None:
        node = self._store.store.nodes.get(canonical(path, PRIVILEGED))
        return node.value.decode(errors="replace") if node else None

    async def _wait(self, path: str, values: list[str | None]) -> str | None:
        waiter = _Waiter()
        self._store.watches.add(waiter, path, "")
        try:
            while (value := self._read(path)) not in values:
                waiter.changed.clear()
                await waiter.changed.wait()
            return value
        finally:
            self._store.watches.remove_all(waiter)


class _Waiter:
    domid = PRIVILEGED

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def send_event(self, path: str, token: str) -> None:
        self.changed.set()


def _change(
    transaction: TreeTransaction, remove: Iterable[str], write: Iterable[tuple[str, str, list[str] | None]]
) -> None:
    for path in remove:
        if transaction.get(canonical(path, PRIVILEGED)):
            _remove_with_empty_parents(transaction, path)
    for path, value, permissions in write:
        transaction.write(canonical(path, PRIVILEGED), value.encode())
        if permissions:
            transaction.set_permissions(path, parse_permissions(permissions))


def _remove_with_empty_parents(transaction: TreeTransaction, path: str) -> None:
    """As libxl__xs_path_cleanup."""
    transaction.remove(path)
    while (path := parent_of(path)) != "/" and (node := transaction.get(path)) and not node.children:
        transaction.remove(path)
