"""Bluetooth L2CAP for programs in a Xen guest, over asyncio.

    from usbbtd.guest import open_adapter

    async with open_adapter() as adapter:
        async with await adapter.connect("C0:FF:EE:00:00:11", 0x1001) as channel:
            await channel.send(b"hello")
            print(await channel.recv())

The guest needs a ``vl2cap`` device, which a driver domain that runs usbbtd serves. Every failure is an AdapterError.
"""

from usbbtd.guest.adapter import DEFAULT_MTU, MAX_AD_DATA, MAX_ECHO, Adapter
from usbbtd.guest.address import AddressType, Transport
from usbbtd.guest.agent import Agent, IoCapability, Prompt, PromptKind
from usbbtd.guest.channel import Channel, Listener, Peer
from usbbtd.guest.discovery import Discovered, Discovery
from usbbtd.guest.errors import (
    AdapterError,
    AdapterGone,
    ChannelClosed,
    ChannelLost,
    ConnectTimeout,
    L2capRefused,
    LimitReached,
    NoAdapter,
    NoController,
    NotSecure,
    PermissionDenied,
)
from usbbtd.guest.info import AdapterInfo
from usbbtd.guest.open import open_adapter
from usbbtd.guest.pairing import Paired
from usbbtd.guest.scan import Report, Scan
from usbbtd.guest.security import SecurityLevel

__all__ = [
    "DEFAULT_MTU",
    "MAX_AD_DATA",
    "MAX_ECHO",
    "Adapter",
    "AdapterError",
    "AdapterGone",
    "AdapterInfo",
    "AddressType",
    "Agent",
    "Channel",
    "ChannelClosed",
    "ChannelLost",
    "ConnectTimeout",
    "Discovered",
    "Discovery",
    "IoCapability",
    "L2capRefused",
    "LimitReached",
    "Listener",
    "NoAdapter",
    "NoController",
    "NotSecure",
    "Paired",
    "Peer",
    "PermissionDenied",
    "Prompt",
    "PromptKind",
    "Report",
    "Scan",
    "SecurityLevel",
    "Transport",
    "open_adapter",
]
