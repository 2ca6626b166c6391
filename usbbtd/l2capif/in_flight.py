"""The requests of a vl2cap frontend that are in flight, and the responses to them."""

from usbbtd.errors import LocalProtocolError
from usbbtd.l2capif.requests import RELEASE
from usbbtd.l2capif.wire import Request, Response, pack


class RequestsInFlight:
    """Keeps each request until its response is there, which is made once.

    A frontend can have only one request with a req_id in flight.
    """

    def __init__(self) -> None:
        self.by_req_id: dict[int, Request] = {}  # others may read it
        self._responses: list[bytes] = []
        self.counts = {"requests": 0, "responses": 0, "errors": 0}

    @property
    def limited(self) -> int:
        """Returns how many requests are in flight without RELEASEs, of which there is at most one for each object."""
        return sum(request.cmd != RELEASE for request in self.by_req_id.values())

    def expect(self, request: Request) -> None:
        """Takes a request that is answered later."""
        self.by_req_id[request.req_id] = request

    def find(self, req_id: int, commands: tuple[int, ...]) -> Request:
        """Returns the request in flight. Raises LocalProtocolError if there is none, or of no such command."""
        request = self.by_req_id.get(req_id)
        if request is None or request.cmd not in commands:
            raise LocalProtocolError(f"request {req_id} is {request}, which is not answered so")
        return request

    def is_expected(self, request: Request) -> bool:
        return self.by_req_id.get(request.req_id) is request

    def answer(self, response: Response) -> None:
        """Answers a request in flight."""
        del self.by_req_id[response.req_id]
        self.respond(response)

    def respond(self, response: Response) -> None:
        """Answers a request that was not taken."""
        self.counts["responses"] += 1
        self.counts["errors"] += response.ret != 0
        self._responses.append(pack(response))

    def take(self) -> list[bytes]:
        """Hands over the responses for the ring, in order."""
        responses, self._responses = self._responses, []
        return responses
