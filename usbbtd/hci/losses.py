"""The table of what is lost if a controller refuses a command or never answers it.

After a refusal, whoever needs the command is told. After silence the controller is reset, and gets the command again,
unless its loss costs nothing: some controllers never answer commands that they do not know. A command that meets
silence twice, without an answer in between, is given up, and its loss is told.
"""

from enum import StrEnum
from typing import NamedTuple

from usbbtd.hci.wire import commands as c

__all__ = ["FUNCTIONS", "LOSSES", "Cost", "Loss"]


class Cost(StrEnum):
    """What is lost, as people read it."""

    NOTHING = "nothing"
    ADAPTER = "the adapter"
    BREDR = "BR/EDR"
    LE = "LE"
    SCANNING = "scanning"
    ADVERTISING = "advertising"
    CONNECTING = "connecting over BR/EDR"
    LE_CONNECTING = "connecting over LE"
    LISTENING = "being connected to over BR/EDR"
    DISCONNECTING = "ending links"
    UPDATING = "changing the parameters of LE connections"
    INQUIRING = "finding BR/EDR devices"
    NAMING = "reading names of BR/EDR devices"
    ENCRYPTING = "encryption over BR/EDR"
    LE_ENCRYPTING = "encryption over LE"


class Loss(NamedTuple):
    """The loss of a command. ``why`` it costs that: a whole clause, for people."""

    cost: Cost
    why: str


_ROWS: dict[Loss, tuple[type[c.HciCommand], ...]] = {
    Loss(Cost.ADAPTER, "nothing is known of its state"): (c.Reset,),
    Loss(Cost.ADAPTER, "it does not say which transports it has"): (c.ReadLocalSupportedFeatures,),
    Loss(Cost.BREDR, "it does not say how much data it takes"): (c.ReadBufferSize,),
    # Vol 4, Part E, 7.3.1: after a reset the mask has the events of BR/EDR, but not LE Meta.
    Loss(Cost.LE, "it does not report events of LE"): (c.SetEventMask,),
    # 7.8.1: after a reset the mask lacks the events of the extended commands. With legacy commands nothing is lost.
    Loss(Cost.LE, "it does not report events of the extended commands"): (c.LeSetEventMask,),
    Loss(Cost.LE, "it does not say how much data it takes on LE"): (c.LeReadBufferSize,),
    Loss(Cost.LE, "it does not know our address"): (c.LeSetRandomAddress,),
    Loss(Cost.SCANNING, "it cannot be told to scan"): (
        c.LeSetExtendedScanEnable,
        c.LeSetExtendedScanParameters,
        c.LeSetScanEnable,
        c.LeSetScanParameters,
    ),
    Loss(Cost.ADVERTISING, "it cannot be told to advertise"): (
        c.LeSetAdvertisingData,
        c.LeSetAdvertisingEnable,
        c.LeSetAdvertisingParameters,
        c.LeSetAdvertisingSetRandomAddress,
        c.LeSetExtendedAdvertisingData,
        c.LeSetExtendedAdvertisingEnable,
        c.LeSetExtendedAdvertisingParameters,
        c.LeSetExtendedScanResponseData,
        c.LeSetScanResponseData,
    ),
    Loss(Cost.CONNECTING, "it cannot be told to page"): (c.CreateConnection,),
    Loss(Cost.LE_CONNECTING, "it cannot be told to connect"): (c.LeCreateConnection, c.LeExtendedCreateConnection),
    Loss(Cost.LISTENING, "peers are not let in"): (c.AcceptConnectionRequest, c.WriteScanEnable),
    Loss(Cost.DISCONNECTING, "links last until the peer ends them"): (c.Disconnect,),
    Loss(Cost.UPDATING, "peers do not get the parameters that they ask for"): (c.LeConnectionUpdate,),
    Loss(Cost.NOTHING, "it only tells about the controller"): (c.ReadBdAddr, c.ReadLocalVersionInformation),
    Loss(Cost.NOTHING, "without it the legacy commands of LE are used, and what LE may have beyond them is not"): (
        c.LeReadLocalSupportedFeatures,
        c.LeReadMaximumAdvertisingDataLength,
        c.LeReadMaximumDataLength,
        c.LeReadNumberOfSupportedAdvertisingSets,
        c.LeReadSupportedStates,
        c.LeSetDefaultPhy,
        c.LeWriteSuggestedDefaultDataLength,
        c.ReadLocalSupportedCommands,
    ),
    Loss(Cost.NOTHING, "the next advertisement takes the set over as it is"): (c.LeRemoveAdvertisingSet,),
    Loss(Cost.NOTHING, "peers only do not hear that we have LE too"): (c.WriteLeHostSupport,),
    Loss(Cost.NOTHING, "links only stay in the role and the mode that they have"): (c.WriteDefaultLinkPolicySettings,),
    Loss(Cost.INQUIRING, "it cannot be told to inquire"): (c.Inquiry, c.InquiryCancel),
    Loss(Cost.NAMING, "it cannot be told to ask for names"): (c.RemoteNameRequest,),
    Loss(Cost.NOTHING, "devices are found without the strength of their signals, and without names"): (
        c.WriteInquiryMode,
    ),
    Loss(Cost.ENCRYPTING, "keys cannot be made, used or measured"): (
        c.AuthenticationRequested,
        c.IoCapabilityRequestReply,
        c.LinkKeyRequestReply,
        c.PinCodeRequestReply,
        c.ReadEncryptionKeySize,
        c.RemoteOobDataRequestReply,
        c.RemoteOobExtendedDataRequestReply,
        c.SetConnectionEncryption,
        c.UserConfirmationRequestReply,
        c.UserPasskeyRequestReply,
    ),
    Loss(Cost.LE_ENCRYPTING, "it does not take keys"): (c.LeEnableEncryption, c.LeLongTermKeyRequestReply),
    Loss(Cost.NOTHING, "peers pair in the older ways only"): (
        c.WriteSecureConnectionsHostSupport,
        c.WriteSimplePairingMode,
    ),
    Loss(Cost.NOTHING, "the sizes of keys are checked all the same"): (c.SetMinEncryptionKeySize,),
    Loss(Cost.NOTHING, "addresses are resolved all the same, though later"): (
        c.LeAddDeviceToResolvingList,
        c.LeClearResolvingList,
        c.LeSetAddressResolutionEnable,
        c.LeSetPrivacyMode,
    ),
    Loss(Cost.NOTHING, "the attempt is waited for no longer all the same"): (
        c.CreateConnectionCancel,
        c.LeCreateConnectionCancel,
        c.RemoteNameRequestCancel,
    ),
    Loss(Cost.NOTHING, "the peer is refused by silence too"): (
        c.IoCapabilityRequestNegativeReply,
        c.LeLongTermKeyRequestNegativeReply,
        c.LeRemoteConnectionParameterRequestNegativeReply,
        c.LeRemoteConnectionParameterRequestReply,
        c.LinkKeyRequestNegativeReply,
        c.PinCodeRequestNegativeReply,
        c.RejectConnectionRequest,
        c.RejectSynchronousConnectionRequest,
        c.RemoteOobDataRequestNegativeReply,
        c.UserConfirmationRequestNegativeReply,
        c.UserPasskeyRequestNegativeReply,
    ),
}

#: Functions that are lost as a whole: if a controller never answers one of their commands, none of them is sent again.
FUNCTIONS = frozenset(Cost) - {Cost.NOTHING, Cost.ADAPTER, Cost.BREDR, Cost.LE}

LOSSES = {command: loss for loss, made in _ROWS.items() for command in made}
