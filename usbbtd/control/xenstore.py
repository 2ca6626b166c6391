"""Lists a part of xenstore for a bug report."""

from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store

#: Limits of a list: guests make nodes in their own directories, as many and as long as xenstored lets them.
MAX_NODES, MAX_DEPTH, MAX_VALUE = 2000, 8, 256


async def nodes_below(store: Store, path: str) -> list[str]:
    """Returns a line ``path = "value"`` for a node and each below it; where one cannot be read, its line says why."""
    lines: list[str] = []
    await _add(store, path, MAX_DEPTH, lines)
    return lines


async def _add(store: Store, path: str, depth: int, lines: list[str]) -> None:
    if len(lines) >= MAX_NODES or depth == 0:
        lines.append(f"{path}: and more")
        return
    try:
        value, names = await store.read(path), await store.list(path)
    except XenError as error:
        lines.append(f"{path}: {error}")
        return
    if value is None:
        lines.append(f"{path}: not there")
        return
    lines.append(f'{path} = "{value[:MAX_VALUE]}"')
    for name in sorted(names or ()):
        if len(lines) > MAX_NODES:
            return
        await _add(store, f"{path}/{name}", depth - 1, lines)
