"""The protocol of the control socket: JSON objects, one a line. A client asks again only after the end of an answer.

{"command": "links"}   ->  {"answer": {...}}   any number of them, then
                           {"end": true}       or
{"command": "fly"}     ->  {"error": "what is wrong"}

Some commands ask the client in turn, by an answer that has "prompt", a number. The client replies meanwhile:

{"reply": 3, "accept": true, "value": "427193"}    "value" only where something was to be typed
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

#: Where the socket is, unless the configuration says otherwise.
SOCKET = "/run/usbbtd/control"

#: The longest line of a client, in bytes.
MAX_REQUEST = 4096

Message = dict[str, Any]

#: Returns the next message of a client while it is answered; None when it has gone. Raises RequestError for nonsense.
NextReply = Callable[[], Awaitable[Message | None]]


class RequestError(Exception):
    """A request cannot be answered; the client gets the message."""


def encode(message: Message) -> bytes:
    """Returns a message as a line. JSON's escapes keep what guests and peers wrote from being anything but text."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
