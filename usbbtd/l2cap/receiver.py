"""The interface of all that takes PDUs of a link."""

from abc import ABC, abstractmethod


class PduReceiver(ABC):
    """Takes the PDUs of one channel identifier, or of several."""

    __slots__ = ()

    @abstractmethod
    def receive(self, untrusted_pdu: bytes, now: float) -> None:
        """Takes a whole PDU, of the length that its basic header says. Never raises for what is in it."""
