"""Holds what all that stands between a dongle and its receiver has in common."""

from usbbtd.dongles.dongle import DongleReceiver, Identified


class DongleLayer:
    """The part of a ``Dongle`` that one made of another ``inner`` one does not change."""

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
