"""Connection parameter updates of an LE link: a peripheral asks its central for them (Vol 3, Part A, 4.20 and 4.21)."""

from usbbtd.bluetooth import CENTRAL, LE, parameters_are_legal
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import Event, ParametersAnswered, ParametersRequested
from usbbtd.l2cap.signalling import Answer, Signalling
from usbbtd.l2cap.wire import (
    PARAMETERS_ACCEPTED,
    PARAMETERS_REJECTED,
    ParameterUpdateRequest,
    ParameterUpdateResponse,
    SignallingCommand,
)


class ParameterUpdates:
    """Sends our requests and answers the peer's. One of each may wait for its answer at a time."""

    def __init__(self, handle: int, transport: int, role: int, signalling: Signalling, events: list[Event]) -> None:
        self._handle = handle
        self._transport = transport
        self._role = role
        self._signalling = signalling
        self._events = events
        self._identifier = 0  # of the peer's request that waits for an answer; 0 if none does
        self._is_asking = False

    def request(self, request: ParameterUpdateRequest, now: float) -> None:
        """Asks the central for other parameters.

        Raises LocalProtocolError if we are the central, if a request waits already, or if the parameters are not legal.
        """
        if self._transport != LE or self._role == CENTRAL or self._is_asking or not _are_legal(request):
            raise LocalProtocolError(f"{request} is not for this link now")
        self._is_asking = True
        self._signalling.send_request(request, self, now, self._answered, self._expired)

    def received(self, untrusted: ParameterUpdateRequest, identifier: int) -> None:
        """Takes the request of a peripheral."""
        if self._role != CENTRAL:
            self._signalling.reject(identifier)  # 4.20: only a peripheral may ask
        elif self._identifier or not _are_legal(untrusted):
            self._signalling.respond(identifier, ParameterUpdateResponse(PARAMETERS_REJECTED))
        else:
            self._identifier = identifier
            asked = untrusted.interval_min, untrusted.interval_max, untrusted.latency, untrusted.timeout
            self._events.append(ParametersRequested(self._handle, *asked))

    def answer(self, accepted: bool) -> bool:
        """Answers the peer's request. Returns False if none waits."""
        if not self._identifier:
            return False
        result = PARAMETERS_ACCEPTED if accepted else PARAMETERS_REJECTED
        self._signalling.respond(self._identifier, ParameterUpdateResponse(result))
        self._identifier = 0
        return True

    def _answered(self, response: SignallingCommand, _now: float) -> Answer:
        self._end(isinstance(response, ParameterUpdateResponse) and response.result == PARAMETERS_ACCEPTED)
        return Answer.FINAL

    def _expired(self, _now: float) -> None:
        self._end(False)

    def _end(self, accepted: bool) -> None:
        self._is_asking = False
        self._events.append(ParametersAnswered(self._handle, accepted))


def _are_legal(untrusted: ParameterUpdateRequest) -> bool:
    return parameters_are_legal(untrusted.interval_min, untrusted.interval_max, untrusted.latency, untrusted.timeout)
