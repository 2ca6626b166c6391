"""The protocol of the control socket: JSON objects, one a line. A client asks again only after the end of an answer.

{"command": "links"}   ->  {"answer": {...}}   any number of them, then
                           {"end": true}       or
{"command": "fly"}     ->  {"error": "what is wrong"}
"""

import json
from typing import Any

#: Where the socket is, unless the configuration says otherwise.
SOCKET = "/run/usbbtd/control"

#: The longest line of a client, in bytes.
MAX_REQUEST = 4096

Message = dict[str, Any]


class RequestError(Exception):
    """A request cannot be answered; the client gets the message."""


def encode(message: Message) -> bytes:
    """Returns a message as a line. JSON's escapes keep what guests and peers wrote from being anything but text."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
