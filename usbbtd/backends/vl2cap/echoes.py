"""Carries out the L2CAP echoes that a guest asks for."""

import asyncio
from collections.abc import Callable

from usbbtd.backends.access import Access
from usbbtd.bluetooth import BREDR
from usbbtd.l2capif.calls import EchoCall
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.errors import RadioError


class GuestEchoes:
    """Carries out the ECHO requests of one guest.

    ``answered`` is called with each request's req_id and the peer's data, or the error that came instead; ``failed``
    with what a call of it raises.
    """

    def __init__(
        self, adapter: SharedAdapter, access: Access,
        answered: Callable[[int, bytes | RadioError | TimeoutError], None], failed: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        self._adapter = adapter
        self._access = access
        self._answered = answered
        self._failed = failed
        self._waiting: dict[int, asyncio.Task[None]] = {}

    def start(self, call: EchoCall) -> None:
        """Starts to ask the peer; ``answered`` is called later. Raises Denied or TooOften if it may not be asked."""
        self._access.echo(call.id, (call.address, BREDR), asyncio.get_running_loop().time())
        waiting = self._waiting[call.id] = asyncio.create_task(self._wait(call))
        waiting.add_done_callback(self._check)

    def cancel(self, number: int) -> None:
        """Cancels the echo with this id; ``answered`` is not called. Idempotent."""
        self._access.release_echo(number)
        if (waiting := self._waiting.pop(number, None)) is not None:
            waiting.cancel()

    def close(self) -> None:
        """Cancels all. Idempotent."""
        for number in tuple(self._waiting):
            self.cancel(number)

    async def _wait(self, call: EchoCall) -> None:
        outcome: bytes | RadioError | TimeoutError
        try:
            async with asyncio.timeout(call.timeout_s):
                outcome = await self._adapter.echoes.ask(call.address, call.data)
        except (RadioError, TimeoutError) as error:
            outcome = error
        del self._waiting[call.id]
        self._access.release_echo(call.id)
        self._answered(call.req_id, outcome)

    def _check(self, waited: asyncio.Task[None]) -> None:
        if not waited.cancelled() and isinstance(error := waited.exception(), Exception):
            self._failed(error)
