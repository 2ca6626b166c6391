"""Reads who a guest is from the backend's directory, which the toolstack writes and the guest cannot."""

from structlog.typing import FilteringBoundLogger

from usbbtd.l2capif.nodes import DOMAIN, STANDS_FOR, TAGS
from usbbtd.policy.rules import Identity
from usbbtd.tags import parse_tags
from usbbtd.xen.store import Store

NAME_MAX = 255


async def read_identity(store: Store, path: str, domid: int, log: FilteringBoundLogger) -> Identity:
    """Reads the name and the tags of the guest whose backend directory is ``path``; logs and ignores malformed ones."""
    name, tags = await store.read(f"{path}/{DOMAIN}"), await store.read(f"{path}/{TAGS}")
    if name is not None and not (0 < len(name) <= NAME_MAX and name.isprintable()):
        log.warning("name of guest passed over", reason=f"{name!r:.80} cannot be a domain's name")
        name = None
    carried = await store.read(f"{path}/{STANDS_FOR}") is not None
    try:
        return Identity(domid, name, parse_tags(tags or ""), carried=carried)
    except ValueError as error:
        log.warning("tags of guest passed over", reason=str(error))
        return Identity(domid, name, carried=carried)
