"""The states of a host, of an initiator and of remote names, and the transitions between them.

Only their methods ``_step`` write a state, and they make only the transitions in these tables.
"""

from collections.abc import Mapping
from enum import StrEnum


class HostState(StrEnum):
    OFF = "off"
    STARTING = "starting"
    UP = "up"
    FAILED = "failed"


class HostInput(StrEnum):
    START = "start"
    SET_UP = "the controller is set up"
    RESET = "the controller is reset"
    GIVE_UP = "the controller is given up"


HOST: Mapping[tuple[HostState, HostInput], HostState] = {
    (HostState.OFF, HostInput.START): HostState.STARTING,
    (HostState.FAILED, HostInput.START): HostState.STARTING,
    (HostState.STARTING, HostInput.SET_UP): HostState.UP,
    (HostState.STARTING, HostInput.RESET): HostState.STARTING,
    (HostState.STARTING, HostInput.GIVE_UP): HostState.FAILED,
    (HostState.UP, HostInput.RESET): HostState.STARTING,
    (HostState.UP, HostInput.GIVE_UP): HostState.FAILED,
}


class NamingState(StrEnum):
    IDLE = "idle"
    ASKING = "asking"  # the controller was told to ask a device for its name
    CANCELLING = "cancelling"  # the controller was told to end that


class NamingInput(StrEnum):
    ASK = "ask"
    CANCEL = "cancel"
    END = "the request has ended"


NAMING: Mapping[tuple[NamingState, NamingInput], NamingState] = {
    (NamingState.IDLE, NamingInput.ASK): NamingState.ASKING,
    (NamingState.ASKING, NamingInput.CANCEL): NamingState.CANCELLING,
    (NamingState.ASKING, NamingInput.END): NamingState.IDLE,
    (NamingState.CANCELLING, NamingInput.END): NamingState.IDLE,
}


class InitiatorState(StrEnum):
    IDLE = "idle"
    CREATING = "creating"  # the controller was told to create a link
    PAUSING = "pausing"  # the controller does nothing until the next try
    CANCELLING = "cancelling"  # the controller was told to end the attempt


class InitiatorInput(StrEnum):
    CREATE = "create"
    OBSTACLE = "an obstacle that passes"
    CANCEL = "cancel"
    END = "the attempt has ended"


INITIATOR: Mapping[tuple[InitiatorState, InitiatorInput], InitiatorState] = {
    (InitiatorState.IDLE, InitiatorInput.CREATE): InitiatorState.CREATING,
    (InitiatorState.CREATING, InitiatorInput.OBSTACLE): InitiatorState.PAUSING,
    (InitiatorState.CREATING, InitiatorInput.CANCEL): InitiatorState.CANCELLING,
    (InitiatorState.CREATING, InitiatorInput.END): InitiatorState.IDLE,
    (InitiatorState.PAUSING, InitiatorInput.CREATE): InitiatorState.CREATING,
    (InitiatorState.PAUSING, InitiatorInput.END): InitiatorState.IDLE,
    (InitiatorState.CANCELLING, InitiatorInput.END): InitiatorState.IDLE,
}
