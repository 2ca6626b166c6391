"""The limits of the pairing of one LE link."""

from typing import Final, NamedTuple

#: The rounds of passkey entry with Secure Connections, one for each bit of the passkey (Vol 3, Part H, 2.3.5.6.3).
PASSKEY_ROUNDS: Final = 20


class SmpLimits(NamedTuple):
    """The limits of one Smp. Times are in seconds."""

    #: The Security Manager Timer, anew with each PDU that is sent (3.4).
    procedure_s: float = 30.0
    #: How long the owner may think about a request of the peer, and a person about a question. The peer waits longer.
    answer_s: float = 25.0
    #: The smallest encryption key, in octets. Level 4 needs 16 in any case.
    key_size: int = 7
