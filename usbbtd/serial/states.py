"""The states of a client's objects, and the steps between them, by state and input."""

from enum import StrEnum


class SerialState(StrEnum):
    """The state of an object, from its request until its id is free."""

    ASKED = "asked"  # its request has no response yet
    OPEN = "open"
    ENDED = "ended"  # by itself; the client has not released it
    RELEASING = "releasing"
    GONE = "gone"  # its id is free


class SerialInput(StrEnum):
    """What changes the state of an object."""

    SUCCEED = "succeed"  # its request is answered with 0
    FAIL = "fail"  # its request is answered with an error, or is all that it was, as an ECHO
    END = "end"  # it has ended by itself
    RELEASE = "release"  # the client releases it
    FORGET = "forget"  # it is released, or its session is over


_S, _I = SerialState, SerialInput
TRANSITIONS: dict[tuple[SerialState, SerialInput], SerialState] = {
    (_S.ASKED, _I.SUCCEED): _S.OPEN,
    (_S.ASKED, _I.FAIL): _S.GONE,
    (_S.ASKED, _I.RELEASE): _S.RELEASING,
    (_S.OPEN, _I.END): _S.ENDED,
    (_S.OPEN, _I.RELEASE): _S.RELEASING,
    (_S.ENDED, _I.RELEASE): _S.RELEASING,
    (_S.RELEASING, _I.FORGET): _S.GONE,
    (_S.ASKED, _I.FORGET): _S.GONE,
    (_S.OPEN, _I.FORGET): _S.GONE,
    (_S.ENDED, _I.FORGET): _S.GONE,
}
