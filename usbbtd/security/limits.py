"""The limits of all that others can make grow, and how long what they never say is waited for."""

from typing import Final, NamedTuple

#: The fewest octets of an encryption key that are worth the name, and those that the highest level needs.
#: Vol 3, Part C, 5.2.2.8 and 10.2.1; shorter keys can be guessed.
MINIMUM_KEY_SIZE: Final = 7
FULL_KEY_SIZE: Final = 16


class SecurityLimits(NamedTuple):
    """The limits of one Security. Times are in seconds."""

    #: The most links.
    links: int = 64
    #: The most bonds of a book.
    bonds: int = 256
    #: The most wishes that may wait on one link.
    wishes: int = 32
    #: How long nothing may happen in a pairing of LE (Vol 3, Part H, 3.4).
    smp_s: float = 30.0
    #: How long a pairing of BR/EDR may take in all: two prompts, and the controllers' own time limits.
    bredr_pairing_s: float = 75.0
    #: How long a controller may take to authenticate, or to encrypt: longer than its LMP response time-out, and than
    #: the 40 s of LE's (Vol 6, Part B, 5.2).
    procedure_s: float = 45.0
    #: How long a wish may wait in all, behind others on its link.
    wish_s: float = 120.0
    #: How long the owner may take to say whether a peer may pair.
    ask_s: float = 10.0
    #: How long people may take to answer a prompt.
    prompt_s: float = 30.0
    #: How long a peer that has paired with us may take to encrypt the link, before we do; and, as our central, may
    #: take to do what we ask for in a security request.
    encrypt_s: float = 2.0
    security_request_s: float = 30.0
    #: How long a peer of LE that asks for a channel waits until it is known how its link is encrypted: a controller's
    #: event and the peer's data come on two endpoints, in any order; and in a pairing keys may have to follow.
    encryption_told_s: float = 1.0
    #: How long a peer may not pair after its pairing has failed; with each failure twice as long, up to a limit. After
    #: ``lockout_forget_s`` without a failure it begins anew.
    lockout_s: float = 1.0
    lockout_limit_s: float = 600.0
    lockout_forget_s: float = 1800.0
    #: The most peers that are remembered for that.
    lockouts: int = 256
