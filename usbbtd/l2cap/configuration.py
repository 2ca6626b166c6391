"""The configuration of a BR/EDR channel, by the standard process (Vol 3, Part A, 7.1). It decides the channel's mode.

Basic mode is the only one that options.py accepts; another would be chosen in ``_configured``.
"""

from usbbtd.bluetooth import BREDR, MINIMUM_MTU
from usbbtd.errors import RemoteProtocolError
from usbbtd.l2cap.channel import L2capChannel
from usbbtd.l2cap.events import NO_ANSWER
from usbbtd.l2cap.modes.basic import BasicMode
from usbbtd.l2cap.options import Verdict, counter_proposal, judge, mtu_option
from usbbtd.l2cap.signalling import Answer
from usbbtd.l2cap.states import ChannelState, Input
from usbbtd.l2cap.wire import (
    CONFIGURATION_PENDING,
    CONFIGURATION_REJECTED,
    CONFIGURATION_SUCCESS,
    CONFIGURATION_UNACCEPTABLE,
    DEFAULT_MTU,
    FLAG_CONTINUATION,
    ConfigurationRequest,
    ConfigurationResponse,
    SignallingCommand,
)

#: The most octets of options that a peer may spread over several requests.
_MAXIMUM_OPTIONS = 1024


class Configuration:
    """Exchanges both sides' requests until the channel is open, and again if the peer configures it anew."""

    def __init__(self, channel: L2capChannel) -> None:
        self._channel = channel
        channel.configuration = self
        self._limit = channel.limits.configuration_requests
        self._signalling = channel.link.signalling
        self._was_open = False
        self._peer_mtu = DEFAULT_MTU
        self._peer_options = b""
        self._repeated_options = b""  # the options that the peer wants in our request, beside the MTU
        self._response_options = b""
        self._requests_received = 0
        self._requests_sent = 0

    def begin(self, now: float) -> None:
        """Sends our own first request."""
        self._channel.step(Input.CONFIGURE_CHANNEL_REQ)
        self._send(mtu_option(self._channel.rx_mtu), now)

    # -- the peer's requests

    def requested(self, identifier: int, request: ConfigurationRequest, now: float) -> None:
        channel = self._channel
        if not channel.may(Input.CONFIGURATION_REQ):
            self._signalling.reject_cid(identifier, channel.cid, channel.dcid)
            return
        self._requests_received += 1
        self._peer_options += request.options
        if self._requests_received > self._limit or len(self._peer_options) > _MAXIMUM_OPTIONS:
            channel.fail("the peer's configuration does not end", now)
            return
        if request.flags & FLAG_CONTINUATION:
            verdict = Verdict(CONFIGURATION_SUCCESS, b"", None)
            flags = FLAG_CONTINUATION
        else:
            verdict = self._judge()
            flags = 0
            self._peer_options = b""
        response = ConfigurationResponse(channel.dcid, flags, verdict.result, verdict.options)
        self._signalling.respond(identifier, response)
        if verdict.result != CONFIGURATION_SUCCESS:
            channel.step(Input.CONFIGURATION_REQ_NEG)
        elif not flags:
            self._peer_mtu = verdict.mtu or self._peer_mtu
            channel.step(Input.CONFIGURATION_REQ)
            if channel.state is ChannelState.WAIT_SEND_CONFIG:
                channel.suspend()
                self.begin(now)
            elif channel.state is ChannelState.OPEN:
                self._configured()

    def _judge(self) -> Verdict:
        # A reconfiguration cannot make the MTU of an open channel smaller: its owner was told the old one.
        minimum = self._peer_mtu if self._was_open else MINIMUM_MTU[BREDR]
        try:
            return judge(self._peer_options, minimum)
        except RemoteProtocolError:
            return Verdict(CONFIGURATION_REJECTED, b"", None)

    # -- ours

    def _send(self, options: bytes, now: float) -> None:
        channel = self._channel
        self._requests_sent += 1
        if self._requests_sent > self._limit:
            channel.fail("the peer accepts no configuration", now)
            return
        request = ConfigurationRequest(channel.dcid, 0, options)
        self._signalling.send_request(request, channel, now, self._answered, self._expired)

    def _answered(self, response: SignallingCommand, now: float) -> Answer:
        channel = self._channel
        if not isinstance(response, ConfigurationResponse):
            channel.fail("the peer rejected our configuration request", now)
            return Answer.FINAL
        if response.scid not in (channel.cid, 0):  # some peers leave our CID out
            return Answer.IGNORED
        if response.result == CONFIGURATION_PENDING:
            channel.step(Input.CONFIGURATION_RSP_PND)
            return Answer.PENDING
        self._response_options += response.options
        if response.flags & FLAG_CONTINUATION:
            self._send(b"", now)  # asks for the rest (4.5)
            return Answer.FINAL
        options, self._response_options = self._response_options, b""
        if response.result == CONFIGURATION_SUCCESS:
            channel.step(Input.CONFIGURATION_RSP)
            if channel.state is ChannelState.OPEN:
                self._configured()
        elif response.result == CONFIGURATION_UNACCEPTABLE:
            channel.step(Input.CONFIGURATION_RSP_NEG)
            self._take_proposal(options)
            self._send(mtu_option(channel.rx_mtu) + self._repeated_options, now)
        else:
            channel.fail(f"the peer rejected our configuration with result {response.result:#06x}", now)
        return Answer.FINAL

    def _expired(self, now: float) -> None:
        self._channel.fail(NO_ANSWER, now)

    def _take_proposal(self, untrusted_options: bytes) -> None:
        """Takes over a smaller MTU, and the other options of the peer's proposal that we can promise."""
        try:
            mtu, self._repeated_options = counter_proposal(untrusted_options)
        except RemoteProtocolError:
            return
        if mtu is not None and MINIMUM_MTU[BREDR] <= mtu < self._channel.rx_mtu and not self._was_open:
            self._channel.rx_mtu = mtu

    def _configured(self) -> None:
        channel = self._channel
        self._requests_received = self._requests_sent = 0
        if not self._was_open:
            self._was_open = True
            channel.tx_mtu = self._peer_mtu
            channel.opened(BasicMode(channel))
        channel.credits = 1  # basic mode has no credits: 1 means that the channel may send
        channel.resume()
