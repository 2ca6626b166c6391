"""What goes over the control socket: JSON objects, one a line. The client asks; the next question comes after the end.

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
    """What is wrong with a request: for the client."""


def encode(message: Message) -> bytes:
    """A line. JSON's escapes keep what guests and peers wrote from being anything but text."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
