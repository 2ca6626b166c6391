"""The states of a channel and what moves it between them, in the words of the specification (Vol 3, Part A, 6.1).

``Channel.step`` is the only writer of a channel's state and takes only the transitions that are listed here. What a
peer sends in a state that has no transition for it is ignored or rejected, as the handler of that command says.
"""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    CLOSED = "CLOSED"
    WAIT_CONNECT = "WAIT_CONNECT"
    WAIT_CONNECT_RSP = "WAIT_CONNECT_RSP"
    # The substates of CONFIG, 6.1.4
    WAIT_CONFIG = "WAIT_CONFIG"
    WAIT_SEND_CONFIG = "WAIT_SEND_CONFIG"
    WAIT_CONFIG_REQ_RSP = "WAIT_CONFIG_REQ_RSP"
    WAIT_CONFIG_RSP = "WAIT_CONFIG_RSP"
    WAIT_CONFIG_REQ = "WAIT_CONFIG_REQ"
    OPEN = "OPEN"
    WAIT_DISCONNECT = "WAIT_DISCONNECT"


class Input(StrEnum):
    # from above
    OPEN_CHANNEL_REQ = "OpenChannel_Req"
    OPEN_CHANNEL_RSP = "OpenChannel_Rsp"
    OPEN_CHANNEL_RSP_NEG = "OpenChannel_RspNeg"
    CONFIGURE_CHANNEL_REQ = "ConfigureChannel_Req"
    CLOSE_CHANNEL_REQ = "CloseChannel_Req"
    # from the peer
    CONNECTION_REQ = "L2CAP_ConnectReq"
    CONNECTION_RSP = "L2CAP_ConnectRsp"
    CONNECTION_RSP_PND = "L2CAP_ConnectRspPnd"
    CONNECTION_RSP_NEG = "L2CAP_ConnectRspNeg"
    CONFIGURATION_REQ = "L2CAP_ConfigReq"
    CONFIGURATION_REQ_NEG = "L2CAP_ConfigReq, options not acceptable"
    CONFIGURATION_RSP = "L2CAP_ConfigRsp"
    CONFIGURATION_RSP_PND = "L2CAP_ConfigRsp, pending"
    CONFIGURATION_RSP_NEG = "L2CAP_ConfigRspNeg"
    DISCONNECTION_REQ = "L2CAP_DisconnectReq"
    DISCONNECTION_RSP = "L2CAP_DisconnectRsp"
    # from below
    TIMEOUT = "RTX or ERTX expired"
    LINK_LOST = "LP_DisconnectInd"


Transitions = Mapping[tuple[State, Input], State]

#: The states in which the peer knows our end of the channel.
CONFIG = (
    State.WAIT_CONFIG,
    State.WAIT_SEND_CONFIG,
    State.WAIT_CONFIG_REQ_RSP,
    State.WAIT_CONFIG_RSP,
    State.WAIT_CONFIG_REQ,
)

_CONNECT_AND_CLOSE: dict[tuple[State, Input], State] = {
    (State.CLOSED, Input.OPEN_CHANNEL_REQ): State.WAIT_CONNECT_RSP,
    (State.CLOSED, Input.CONNECTION_REQ): State.WAIT_CONNECT,
    (State.WAIT_CONNECT, Input.OPEN_CHANNEL_RSP_NEG): State.CLOSED,
    # only a peer that was told "pending" knows the channel identifier to disconnect
    (State.WAIT_CONNECT, Input.DISCONNECTION_REQ): State.CLOSED,
    (State.WAIT_CONNECT, Input.LINK_LOST): State.CLOSED,
    (State.WAIT_CONNECT_RSP, Input.CONNECTION_RSP_PND): State.WAIT_CONNECT_RSP,
    (State.WAIT_CONNECT_RSP, Input.CONNECTION_RSP_NEG): State.CLOSED,
    (State.WAIT_CONNECT_RSP, Input.TIMEOUT): State.CLOSED,
    (State.WAIT_CONNECT_RSP, Input.LINK_LOST): State.CLOSED,
    # Nothing takes a connection request back: the answer is waited for, then the channel is disconnected.
    (State.WAIT_CONNECT_RSP, Input.CLOSE_CHANNEL_REQ): State.WAIT_DISCONNECT,
    (State.WAIT_DISCONNECT, Input.CONNECTION_RSP): State.WAIT_DISCONNECT,
    (State.WAIT_DISCONNECT, Input.CONNECTION_RSP_PND): State.WAIT_DISCONNECT,
    (State.WAIT_DISCONNECT, Input.CONNECTION_RSP_NEG): State.CLOSED,
    (State.OPEN, Input.CLOSE_CHANNEL_REQ): State.WAIT_DISCONNECT,
    (State.OPEN, Input.DISCONNECTION_REQ): State.CLOSED,
    (State.OPEN, Input.LINK_LOST): State.CLOSED,
    (State.WAIT_DISCONNECT, Input.DISCONNECTION_REQ): State.CLOSED,
    (State.WAIT_DISCONNECT, Input.DISCONNECTION_RSP): State.CLOSED,
    (State.WAIT_DISCONNECT, Input.TIMEOUT): State.CLOSED,
    (State.WAIT_DISCONNECT, Input.LINK_LOST): State.CLOSED,
}

#: LE credit based channels (10.1): nothing to configure. The states keep the names that BR/EDR gave them.
CREDIT_BASED: Transitions = _CONNECT_AND_CLOSE | {
    (State.WAIT_CONNECT, Input.OPEN_CHANNEL_RSP): State.OPEN,
    (State.WAIT_CONNECT_RSP, Input.CONNECTION_RSP): State.OPEN,
}

#: BR/EDR connection oriented channels, standard configuration process.
CLASSIC: Transitions = (
    _CONNECT_AND_CLOSE
    | {(state, Input.CLOSE_CHANNEL_REQ): State.WAIT_DISCONNECT for state in CONFIG}
    | {(state, Input.DISCONNECTION_REQ): State.CLOSED for state in CONFIG}
    | {(state, Input.LINK_LOST): State.CLOSED for state in CONFIG}
    | {
        (State.WAIT_CONNECT, Input.OPEN_CHANNEL_RSP): State.WAIT_CONFIG,
        (State.WAIT_CONNECT_RSP, Input.CONNECTION_RSP): State.WAIT_CONFIG,
        (State.WAIT_CONFIG, Input.CONFIGURE_CHANNEL_REQ): State.WAIT_CONFIG_REQ_RSP,
        (State.WAIT_SEND_CONFIG, Input.CONFIGURE_CHANNEL_REQ): State.WAIT_CONFIG_RSP,
        # the peer's request
        (State.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_REQ): State.WAIT_CONFIG_RSP,
        (State.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_REQ_NEG): State.WAIT_CONFIG_REQ_RSP,
        (State.WAIT_CONFIG_REQ, Input.CONFIGURATION_REQ): State.OPEN,
        (State.WAIT_CONFIG_REQ, Input.CONFIGURATION_REQ_NEG): State.WAIT_CONFIG_REQ,
        # it changed its mind before we are through: its latest options count
        (State.WAIT_CONFIG_RSP, Input.CONFIGURATION_REQ): State.WAIT_CONFIG_RSP,
        (State.WAIT_CONFIG_RSP, Input.CONFIGURATION_REQ_NEG): State.WAIT_CONFIG_REQ_RSP,
        # reconfiguration of an open channel
        (State.OPEN, Input.CONFIGURATION_REQ): State.WAIT_SEND_CONFIG,
        (State.OPEN, Input.CONFIGURATION_REQ_NEG): State.OPEN,
        # the answer to ours
        (State.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_RSP): State.WAIT_CONFIG_REQ,
        (State.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_RSP_PND): State.WAIT_CONFIG_REQ_RSP,
        (State.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_RSP_NEG): State.WAIT_CONFIG_REQ_RSP,
        (State.WAIT_CONFIG_RSP, Input.CONFIGURATION_RSP): State.OPEN,
        (State.WAIT_CONFIG_RSP, Input.CONFIGURATION_RSP_PND): State.WAIT_CONFIG_RSP,
        (State.WAIT_CONFIG_RSP, Input.CONFIGURATION_RSP_NEG): State.WAIT_CONFIG_RSP,
    }
)
