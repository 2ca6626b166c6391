"""Refuses each request of a controller for a key, a PIN or a confirmation: this host has no keys and does not pair."""

from collections.abc import Callable
from typing import Any

from usbbtd.bluetooth import ErrorCode
from usbbtd.hci.wire import commands
from usbbtd.hci.wire import events as incoming
from usbbtd.hci.wire.commands import HciCommand
from usbbtd.packets import Packet

__all__ = ["REFUSALS"]


#: For each kind of event, a function that makes the command to refuse its request.
REFUSALS: dict[type[Packet], Callable[[Any], HciCommand]] = {
    incoming.PinCodeRequest: lambda asked: commands.PinCodeRequestNegativeReply(asked.address),
    incoming.LinkKeyRequest: lambda asked: commands.LinkKeyRequestNegativeReply(asked.address),
    incoming.IoCapabilityRequest: lambda asked: commands.IoCapabilityRequestNegativeReply(
        asked.address, ErrorCode.PAIRING_NOT_ALLOWED
    ),
    incoming.UserConfirmationRequest: lambda asked: commands.UserConfirmationRequestNegativeReply(asked.address),
    incoming.UserPasskeyRequest: lambda asked: commands.UserPasskeyRequestNegativeReply(asked.address),
    incoming.RemoteOobDataRequest: lambda asked: commands.RemoteOobDataRequestNegativeReply(asked.address),
    incoming.LeLongTermKeyRequest: lambda asked: commands.LeLongTermKeyRequestNegativeReply(asked.handle),
}
