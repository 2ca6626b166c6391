"""The modes of channels: how SDUs become PDUs, and how the peer learns that SDUs were read."""

from abc import abstractmethod

from usbbtd.l2cap.receiver import PduReceiver


class Mode(PduReceiver):
    """The mode of one channel. The channel has it once it is known, for BR/EDR after the configuration."""

    __slots__ = ()

    @property
    @abstractmethod
    def unread(self) -> int:
        """Returns how many SDUs were delivered and not released."""

    @abstractmethod
    def next_pdu(self) -> bytes:
        """Returns the next whole PDU. May be called only while the channel ``is_ready``."""

    @abstractmethod
    def release(self, count: int) -> None:
        """Releases the oldest ``count`` SDUs, which are read. Raises LocalProtocolError for more than there are."""

    @abstractmethod
    def limit_unread(self, octets: int) -> None:
        """Sets the channel's own ``L2capLimits.unread_bytes``, if this mode cannot tell the peer to wait."""


def take_oldest(costs: list[int], count: int) -> int:  # hot: per wake-up
    """Removes the first ``count`` costs and returns their sum."""
    total = 0
    for cost in costs[:count]:
        total += cost
    del costs[:count]
    return total
