"""The facts about adapters and links that usbbtctl shows.

Addresses are text, as in C0:FF:EE:00:00:11. None stands for what is not known, or not known yet.
"""

from typing import Final, NamedTuple

#: The state of an adapter that was switched off.
OFF: Final = "switched off"


class AdapterStatus(NamedTuple):
    """The facts about an adapter.

    ``state``: "no dongle", "switched off", "off", "starting", "up" or "failed". ``missing``: what the controller cannot
    do for us, or has not got, although it should, and why. ``bredr_buffers``, ``le_buffers``: (octets of one, their
    number); None if LE shares those of BR/EDR, or if unknown.
    """

    state: str
    dongle: str | None
    address: str | None
    random_address: str
    transports: list[str]
    missing: list[str]
    controller: str | None  # by its maker and version, for people
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
    """The facts about an ACL link. ``address``: of the peer's identity.

    ``channels``: how many are open, opening, or asked for by the peer. ``queued``: the number of fragments that wait
    for the controller's buffers; ``outstanding``: of those that it holds. ``security``: its level, by name;
    ``key_size``: octets of the key that it is encrypted with; ``bonded``: whether that is the key of a bond.
    """

    handle: int
    address: str
    address_type: str
    role: str
    channels: int
    age_s: float
    queued: int
    outstanding: int
    security: str
    key_size: int
    bonded: bool
