"""The modes of channels: how SDUs become PDUs, and what the peer is told of those that are read."""

from abc import abstractmethod

from usbbtd.l2cap.receiver import PduReceiver


class Mode(PduReceiver):
    """A part of one channel, from when it is known what the channel will speak."""

    __slots__ = ()

    @property
    @abstractmethod
    def unread(self) -> int:
        """How many SDUs were delivered and not released."""

    @abstractmethod
    def next_pdu(self) -> bytes:
        """Returns the next whole PDU; only while the channel ``is_ready``."""

    @abstractmethod
    def release(self, count: int) -> None:
        """The oldest ``count`` SDUs that were delivered are read. Raises LocalProtocolError for more than there are."""

    @abstractmethod
    def limit_unread(self, octets: int) -> None:
        """Sets the channel's own ``Limits.unread_bytes``, where the peer cannot be told to wait."""
