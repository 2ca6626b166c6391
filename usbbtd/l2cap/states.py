"""The states of a channel and the transitions between them, in the words of the specification (Vol 3, Part A, 6.1).

Only ``L2capChannel.step`` writes a channel's state, and it makes only the transitions in these tables. A command of the
peer for which a state has no transition is ignored or rejected, as the handler of that command says.
"""

from collections.abc import Mapping
from enum import StrEnum


class ChannelState(StrEnum):
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


Transitions = Mapping[tuple[ChannelState, Input], ChannelState]

#: The states during the configuration of a channel, in which the peer knows our end of it.
CONFIG = (
    ChannelState.WAIT_CONFIG,
    ChannelState.WAIT_SEND_CONFIG,
    ChannelState.WAIT_CONFIG_REQ_RSP,
    ChannelState.WAIT_CONFIG_RSP,
    ChannelState.WAIT_CONFIG_REQ,
)

_CONNECT_AND_CLOSE: dict[tuple[ChannelState, Input], ChannelState] = {
    (ChannelState.CLOSED, Input.OPEN_CHANNEL_REQ): ChannelState.WAIT_CONNECT_RSP,
    (ChannelState.CLOSED, Input.CONNECTION_REQ): ChannelState.WAIT_CONNECT,
    (ChannelState.WAIT_CONNECT, Input.OPEN_CHANNEL_RSP_NEG): ChannelState.CLOSED,
    # only a peer that was told "pending" knows the channel identifier to disconnect
    (ChannelState.WAIT_CONNECT, Input.DISCONNECTION_REQ): ChannelState.CLOSED,
    (ChannelState.WAIT_CONNECT, Input.LINK_LOST): ChannelState.CLOSED,
    (ChannelState.WAIT_CONNECT_RSP, Input.CONNECTION_RSP_PND): ChannelState.WAIT_CONNECT_RSP,
    (ChannelState.WAIT_CONNECT_RSP, Input.CONNECTION_RSP_NEG): ChannelState.CLOSED,
    (ChannelState.WAIT_CONNECT_RSP, Input.TIMEOUT): ChannelState.CLOSED,
    (ChannelState.WAIT_CONNECT_RSP, Input.LINK_LOST): ChannelState.CLOSED,
    # A connection request cannot be taken back: the channel is disconnected after its answer.
    (ChannelState.WAIT_CONNECT_RSP, Input.CLOSE_CHANNEL_REQ): ChannelState.WAIT_DISCONNECT,
    (ChannelState.WAIT_DISCONNECT, Input.CONNECTION_RSP): ChannelState.WAIT_DISCONNECT,
    (ChannelState.WAIT_DISCONNECT, Input.CONNECTION_RSP_PND): ChannelState.WAIT_DISCONNECT,
    (ChannelState.WAIT_DISCONNECT, Input.CONNECTION_RSP_NEG): ChannelState.CLOSED,
    (ChannelState.OPEN, Input.CLOSE_CHANNEL_REQ): ChannelState.WAIT_DISCONNECT,
    (ChannelState.OPEN, Input.DISCONNECTION_REQ): ChannelState.CLOSED,
    (ChannelState.OPEN, Input.LINK_LOST): ChannelState.CLOSED,
    (ChannelState.WAIT_DISCONNECT, Input.DISCONNECTION_REQ): ChannelState.CLOSED,
    (ChannelState.WAIT_DISCONNECT, Input.DISCONNECTION_RSP): ChannelState.CLOSED,
    (ChannelState.WAIT_DISCONNECT, Input.TIMEOUT): ChannelState.CLOSED,
    (ChannelState.WAIT_DISCONNECT, Input.LINK_LOST): ChannelState.CLOSED,
}

#: Fixed channels (2.1), which are there as long as their link: only their user opens and closes them.
FIXED: Transitions = {
    (ChannelState.CLOSED, Input.OPEN_CHANNEL_REQ): ChannelState.OPEN,
    (ChannelState.OPEN, Input.CLOSE_CHANNEL_REQ): ChannelState.CLOSED,
    (ChannelState.OPEN, Input.LINK_LOST): ChannelState.CLOSED,
}

#: LE credit based channels (10.1), which have no configuration. Their states have the names of BR/EDR.
CREDIT_BASED: Transitions = _CONNECT_AND_CLOSE | {
    (ChannelState.WAIT_CONNECT, Input.OPEN_CHANNEL_RSP): ChannelState.OPEN,
    (ChannelState.WAIT_CONNECT_RSP, Input.CONNECTION_RSP): ChannelState.OPEN,
}

#: BR/EDR connection oriented channels, standard configuration process.
CLASSIC: Transitions = (
    _CONNECT_AND_CLOSE
    | {(state, Input.CLOSE_CHANNEL_REQ): ChannelState.WAIT_DISCONNECT for state in CONFIG}
    | {(state, Input.DISCONNECTION_REQ): ChannelState.CLOSED for state in CONFIG}
    | {(state, Input.LINK_LOST): ChannelState.CLOSED for state in CONFIG}
    | {
        (ChannelState.WAIT_CONNECT, Input.OPEN_CHANNEL_RSP): ChannelState.WAIT_CONFIG,
        (ChannelState.WAIT_CONNECT_RSP, Input.CONNECTION_RSP): ChannelState.WAIT_CONFIG,
        (ChannelState.WAIT_CONFIG, Input.CONFIGURE_CHANNEL_REQ): ChannelState.WAIT_CONFIG_REQ_RSP,
        (ChannelState.WAIT_SEND_CONFIG, Input.CONFIGURE_CHANNEL_REQ): ChannelState.WAIT_CONFIG_RSP,
        # the peer's request
        (ChannelState.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_REQ): ChannelState.WAIT_CONFIG_RSP,
        (ChannelState.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_REQ_NEG): ChannelState.WAIT_CONFIG_REQ_RSP,
        (ChannelState.WAIT_CONFIG_REQ, Input.CONFIGURATION_REQ): ChannelState.OPEN,
        (ChannelState.WAIT_CONFIG_REQ, Input.CONFIGURATION_REQ_NEG): ChannelState.WAIT_CONFIG_REQ,
        # the peer asks again before we have finished: its latest options count
        (ChannelState.WAIT_CONFIG_RSP, Input.CONFIGURATION_REQ): ChannelState.WAIT_CONFIG_RSP,
        (ChannelState.WAIT_CONFIG_RSP, Input.CONFIGURATION_REQ_NEG): ChannelState.WAIT_CONFIG_REQ_RSP,
        # reconfiguration of an open channel
        (ChannelState.OPEN, Input.CONFIGURATION_REQ): ChannelState.WAIT_SEND_CONFIG,
        (ChannelState.OPEN, Input.CONFIGURATION_REQ_NEG): ChannelState.OPEN,
        # the answer to our request
        (ChannelState.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_RSP): ChannelState.WAIT_CONFIG_REQ,
        (ChannelState.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_RSP_PND): ChannelState.WAIT_CONFIG_REQ_RSP,
        (ChannelState.WAIT_CONFIG_REQ_RSP, Input.CONFIGURATION_RSP_NEG): ChannelState.WAIT_CONFIG_REQ_RSP,
        (ChannelState.WAIT_CONFIG_RSP, Input.CONFIGURATION_RSP): ChannelState.OPEN,
        (ChannelState.WAIT_CONFIG_RSP, Input.CONFIGURATION_RSP_PND): ChannelState.WAIT_CONFIG_RSP,
        (ChannelState.WAIT_CONFIG_RSP, Input.CONFIGURATION_RSP_NEG): ChannelState.WAIT_CONFIG_RSP,
    }
)
