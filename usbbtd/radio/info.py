"""What adapters and links tell of themselves to whoever looks: the names are those of the field.

Addresses are text as people write them. None is what is not known, or not known yet.
"""

from typing import NamedTuple


class AdapterStatus(NamedTuple):
    """``state``: "no dongle", "off", "starting", "up", "failed". Buffers: (octets, count); None: shared or unknown.
    ``missing``: what the controller does not do for us, although it should, and why."""

    state: str
    dongle: str | None
    address: str | None
    random_address: str
    transports: list[str]
    missing: list[str]
    hci_version: int | None
    company_identifier: int | None
    bredr_buffers: tuple[int, int] | None
    le_buffers: tuple[int, int] | None
    links: int
    channels: int
    listeners: int
    scans: int
    advertising: bool


class LinkInfo(NamedTuple):
    """An ACL link. ``channels``: open, opening, and asked for by the peer. ``queued``: fragments that wait for the
    controller; ``outstanding``: those that it holds."""

    handle: int
    address: str
    address_type: str
    role: str
    channels: int
    age_s: float
    queued: int
    outstanding: int
