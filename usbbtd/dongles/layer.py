"""Passes a dongle's identity up and its news down, for whatever stands between it and its receiver."""

from usbbtd.dongles.dongle import DongleReceiver, Identified


class DongleLayer:
    """The base of a ``Dongle`` that wraps another, ``inner``: its identity and its news pass unchanged."""

    def __init__(self, inner: Identified) -> None:
        self._inner = inner
        self.receiver: DongleReceiver | None = None

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def vendor_id(self) -> int:
        return self._inner.vendor_id

    @property
    def product_id(self) -> int:
        return self._inner.product_id

    @property
    def serial(self) -> str:
        return self._inner.serial

    def dongle_ready_to_send(self) -> None:
        if self.receiver is not None:
            self.receiver.dongle_ready_to_send()

    def dongle_lost(self, reason: str) -> None:
        if self.receiver is not None:
            self.receiver.dongle_lost(reason)
