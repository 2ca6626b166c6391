"""Encrypts links, and answers what a controller asks about keys (Vol 4, Part E, 7.1, 7.7 and 7.8). It keeps no keys.

The user does, if there is one: it is asked by events, whose answers are the methods of the same names. Without a user,
and for peers without a link, each request is refused; that is the lot of old devices that pair while they connect.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from usbbtd.bluetooth import ADDRESS_BREDR, CENTRAL, ErrorCode
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.hci import events as told
from usbbtd.hci.command_queue import Send
from usbbtd.hci.resolving import ResolvingEntry, ResolvingList
from usbbtd.hci.wire import commands
from usbbtd.hci.wire import events as incoming
from usbbtd.hci.wire.commands import HciCommand
from usbbtd.packets import Packet

__all__ = ["QUESTIONS", "Authentication"]

#: A display with yes and no, and a keyboard with a display, which only LE knows (Vol 3, Part C, 5.2.2.4).
_DISPLAY_YES_NO, _KEYBOARD_DISPLAY = 1, 4
_KEY_SIZE = 16
_PIN_SIZES = range(1, 17)
_PASSKEYS = range(1_000_000)
_KEY_SIZES = range(1, 17)
_ENCRYPTION_MODES = range(3)
_OOB_REPLIES: dict[int, type[HciCommand]] = {
    32: commands.RemoteOobDataRequestReply,
    64: commands.RemoteOobExtendedDataRequestReply,
}


class Question(NamedTuple):
    """A request of a controller: the event that tells the user, and the command that refuses it."""

    event: Callable[[Any], told.Event]
    refusal: Callable[[Any], HciCommand]


QUESTIONS: dict[type[Packet], Question] = {
    incoming.PinCodeRequest: Question(
        lambda asked: told.PinRequested(asked.address),
        lambda asked: commands.PinCodeRequestNegativeReply(asked.address),
    ),
    incoming.LinkKeyRequest: Question(
        lambda asked: told.LinkKeyRequested(asked.address),
        lambda asked: commands.LinkKeyRequestNegativeReply(asked.address),
    ),
    incoming.IoCapabilityRequest: Question(
        lambda asked: told.IoCapabilityRequested(asked.address),
        lambda asked: commands.IoCapabilityRequestNegativeReply(asked.address, ErrorCode.PAIRING_NOT_ALLOWED),
    ),
    incoming.UserConfirmationRequest: Question(
        lambda asked: told.ConfirmationRequested(asked.address, asked.value),
        lambda asked: commands.UserConfirmationRequestNegativeReply(asked.address),
    ),
    incoming.UserPasskeyRequest: Question(
        lambda asked: told.PasskeyRequested(asked.address),
        lambda asked: commands.UserPasskeyRequestNegativeReply(asked.address),
    ),
    incoming.RemoteOobDataRequest: Question(
        lambda asked: told.OobRequested(asked.address),
        lambda asked: commands.RemoteOobDataRequestNegativeReply(asked.address),
    ),
    incoming.LeLongTermKeyRequest: Question(
        lambda asked: told.LongTermKeyRequested(asked.handle, asked.random_number, asked.encrypted_diversifier),
        lambda asked: commands.LeLongTermKeyRequestNegativeReply(asked.handle),
    ),
}


class _Link:
    """What is under way on a link, by which the events of the controller are judged."""

    def __init__(self, handle: int, address: bytes, address_type: int, role: int) -> None:
        self.handle = handle
        self.address = address
        self.is_bredr = address_type == ADDRESS_BREDR
        self.role = role
        self.asked: dict[type[Packet], Packet] = {}  # what the controller asked, and was not answered yet
        self.authenticating = False
        self.mode = 0  # of its encryption, as the controller told last
        self.reading = False  # whether the size of the encryption key is being read
        self.readings = 0  # how often it was, so that an answer finds its own
        self.told: int | None = None  # the size that was told last; None if a change is to be told in any case
        self.refreshed: int | None = None  # the status of a refresh of the key that is to be told after the size


class Authentication:
    """The security of all links of one controller, as far as it passes through HCI.

    Whatever the controller says about other links, twice, or out of turn is counted and changes nothing. The user's
    wishes and answers about a link or a request that is gone do nothing: both may end at any time.
    """

    def __init__(
        self, resolving: ResolvingList, send: Send, emit: Callable[[told.Event], None], *, secure: bool
    ) -> None:
        """Makes it for a controller that is off. ``secure``: whether there is a user, who hears and answers."""
        self._resolving = resolving
        self._send = send
        self._emit = emit
        self._secure = secure
        self._links: dict[int, _Link] = {}
        self._handlers: dict[type[Packet], Callable[[Any], None]] = {
            **dict.fromkeys(QUESTIONS, self._receive_question),
            incoming.AuthenticationComplete: self._receive_authenticated,
            incoming.EncryptionChange: self._receive_encryption,
            incoming.EncryptionChangeV2: self._receive_encryption,
            incoming.EncryptionKeyRefreshComplete: self._receive_refreshed,
            incoming.IoCapabilityResponse: self._receive_io_capability,
            incoming.LinkKeyNotification: self._receive_link_key,
            incoming.SimplePairingComplete: self._receive_paired,
            incoming.UserPasskeyNotification: self._receive_passkey,
        }
        self.events = tuple(self._handlers)  # the kinds of events that receive() takes
        self.counters = {
            "security_requests_refused": 0,  # nobody to ask, no such link, or another one before it was answered
            "security_events_stray": 0,  # about a link that there is not, twice, or out of turn
            "security_answers_late": 0,  # the request had ended, or was answered
        }

    # The user's wishes

    def authenticate(self, handle: int) -> None:
        """Has a BR/EDR link authenticated, with a key or by pairing. Authenticated follows, once for all such calls."""
        link = self._links.get(handle)
        if link is not None and link.is_bredr and not link.authenticating:
            link.authenticating = True
            self._send(commands.AuthenticationRequested(handle), partial(self._authentication_answered, link))

    def encrypt(self, handle: int) -> None:
        """Turns the encryption of an authenticated BR/EDR link on. EncryptionChanged follows."""
        link = self._links.get(handle)
        if link is not None and link.is_bredr:
            self._send(commands.SetConnectionEncryption(handle, 1), partial(self._encryption_answered, link))

    def start_encryption(self, handle: int, random: int, diversifier: int, key: bytes) -> None:
        """Encrypts an LE link whose central we are, or refreshes its key. EncryptionChanged or KeyRefreshed follows.

        ``random`` and ``diversifier`` name a legacy key; they are 0 for one of Secure Connections.
        """
        link = self._links.get(handle)
        if link is not None and not link.is_bredr and link.role == CENTRAL:
            command = commands.LeEnableEncryption(handle, random, diversifier, _checked(key, _KEY_SIZE))
            self._send(command, partial(self._encryption_answered, link))

    def set_resolving_list(self, entries: list[ResolvingEntry]) -> None:
        """Has the controller, if it can, know these peers by their private addresses, now and after a reset."""
        for entry in entries:
            _checked(entry.peer_irk, _KEY_SIZE)
            _checked(entry.our_irk, _KEY_SIZE)
        self._resolving.set(entries)

    # The user's answers: None refuses

    def answer_link_key(self, address: bytes, key: bytes | None) -> None:
        reply = None if key is None else commands.LinkKeyRequestReply(address, _checked(key, _KEY_SIZE))
        self._answer(incoming.LinkKeyRequest, address, reply)

    def answer_pin(self, address: bytes, pin: bytes | None) -> None:
        """Answers PinRequested with 1 to 16 octets."""
        if pin is not None and len(pin) not in _PIN_SIZES:
            raise LocalProtocolError("a PIN has 1 to 16 octets")
        reply = None if pin is None else commands.PinCodeRequestReply(address, len(pin), pin)
        self._answer(incoming.PinCodeRequest, address, reply)

    def answer_io_capability(self, address: bytes, io_capability: int, oob_present: int, requirements: int) -> None:
        if io_capability == _KEYBOARD_DISPLAY:
            io_capability = _DISPLAY_YES_NO
        reply = commands.IoCapabilityRequestReply(address, io_capability, oob_present, requirements)
        self._answer(incoming.IoCapabilityRequest, address, reply)

    def refuse_io_capability(self, address: bytes, reason: int) -> None:
        """Refuses to pair. The peer hears the reason, an HCI error code."""
        reply = commands.IoCapabilityRequestNegativeReply(address, reason)
        self._answer(incoming.IoCapabilityRequest, address, reply)

    def answer_confirmation(self, address: bytes, accept: bool) -> None:
        reply = commands.UserConfirmationRequestReply(address) if accept else None
        self._answer(incoming.UserConfirmationRequest, address, reply)

    def answer_passkey(self, address: bytes, passkey: int | None) -> None:
        if passkey is not None and passkey not in _PASSKEYS:
            raise LocalProtocolError("a passkey has six digits")
        reply = None if passkey is None else commands.UserPasskeyRequestReply(address, passkey)
        self._answer(incoming.UserPasskeyRequest, address, reply)

    def answer_oob(self, address: bytes, data: bytes | None) -> None:
        """Answers OobRequested with C and R of P-192, or with these and C and R of P-256, 16 octets each."""
        reply: HciCommand | None = None
        if data is not None:
            made = _OOB_REPLIES.get(len(data))
            if made is None:
                raise LocalProtocolError(f"{len(data)} octets of out-of-band data")
            reply = made.parse(address + data)
        self._answer(incoming.RemoteOobDataRequest, address, reply)

    def answer_long_term_key(self, handle: int, key: bytes | None) -> None:
        reply = None if key is None else commands.LeLongTermKeyRequestReply(handle, _checked(key, _KEY_SIZE))
        self._answer(incoming.LeLongTermKeyRequest, handle, reply)

    # The links

    def set_initiating(self, initiating: bool) -> None:
        """Sets whether the controller creates a connection on LE."""
        self._resolving.set_initiating(initiating)

    def link_up(self, handle: int, address: bytes, address_type: int, role: int) -> None:
        self._links[handle] = _Link(handle, address, address_type, role)

    def link_down(self, handle: int) -> None:
        del self._links[handle]

    # The controller's side

    def receive(self, event: Packet, _now: float) -> None:
        """Takes an event of one of the kinds in ``events``."""
        if self._secure:
            self._handlers[type(event)](event)
        elif question := QUESTIONS.get(type(event)):
            self._refuse(question, event)
        else:
            self.counters["security_events_stray"] += 1

    def _receive_question(self, event: Any) -> None:
        question = QUESTIONS[type(event)]
        link = self._find(event.handle if isinstance(event, incoming.LeLongTermKeyRequest) else event.address)
        if link is None:
            self._refuse(question, event)
            return
        before = link.asked.setdefault(type(event), event)
        if before is event:
            self._emit(question.event(event))
        elif before == event:
            self.counters["security_events_stray"] += 1
        else:  # the answer to the one must not become that to the other
            del link.asked[type(event)]
            self._refuse(question, event)

    def _receive_authenticated(self, event: incoming.AuthenticationComplete) -> None:
        link = self._links.get(event.handle)
        if link is None or not link.authenticating:
            self.counters["security_events_stray"] += 1
            return
        link.authenticating = False
        link.asked.clear()
        self._emit(told.Authenticated(link.handle, event.status))

    def _receive_encryption(self, event: incoming.EncryptionChange | incoming.EncryptionChangeV2) -> None:
        """Tells how a link is encrypted, after it has read the key's size if that is not known."""
        link = self._links.get(event.handle)
        if link is None:
            self.counters["security_events_stray"] += 1
        elif event.status:
            self._emit(told.EncryptionChanged(link.handle, event.status, 0, 0))
        else:
            link.mode = event.enabled if event.enabled in _ENCRYPTION_MODES else 0
            link.told = None
            size = event.key_size if isinstance(event, incoming.EncryptionChangeV2) and link.mode else 0
            if link.is_bredr and link.mode and size not in _KEY_SIZES:
                self._read_key_size(link)
            else:
                self._tell_encryption(link, size)

    def _read_key_size(self, link: _Link) -> None:
        if link.reading:  # the answer will tell of this change, too
            self.counters["security_events_stray"] += 1
            return
        link.reading = True
        link.readings += 1
        self._send(commands.ReadEncryptionKeySize(link.handle), partial(self._key_size_answered, link, link.readings))

    def _key_size_answered(self, link: _Link, reading: int, status: int, returned: bytes, _now: float) -> None:
        if link.reading and reading == link.readings and self._links.get(link.handle) is link:
            self._tell_encryption(link, 0 if status else _key_size(link.handle, returned))

    def _tell_encryption(self, link: _Link, size: int) -> None:
        link.reading = False
        if size != link.told:
            link.told = size
            self._emit(told.EncryptionChanged(link.handle, 0, link.mode, size))
        status, link.refreshed = link.refreshed, None
        if status is not None and link.mode:
            self._emit(told.KeyRefreshed(link.handle, status))

    def _receive_refreshed(self, event: incoming.EncryptionKeyRefreshComplete) -> None:
        """Tells that a key was refreshed, on BR/EDR after a look whether it has become shorter."""
        link = self._links.get(event.handle)
        if link is None or not link.mode:
            self.counters["security_events_stray"] += 1
        elif link.is_bredr:
            link.refreshed = event.status
            if not link.reading:
                self._read_key_size(link)
        else:
            self._emit(told.KeyRefreshed(link.handle, event.status))

    def _receive_io_capability(self, event: incoming.IoCapabilityResponse) -> None:
        self._tell(event.address, told.IoCapabilityAnswered(*event.field_values()))

    def _receive_link_key(self, event: incoming.LinkKeyNotification) -> None:
        self._tell(event.address, told.LinkKeyNotified(*event.field_values()))

    def _receive_passkey(self, event: incoming.UserPasskeyNotification) -> None:
        self._tell(event.address, told.PasskeyShown(*event.field_values()))

    def _receive_paired(self, event: incoming.SimplePairingComplete) -> None:
        link = self._find(event.address)
        if link is not None:
            link.asked.clear()
        self._tell(event.address, told.PairingCompleted(event.address, event.status))

    # Inside

    def _authentication_answered(self, link: _Link, status: int, _returned: bytes, _now: float) -> None:
        if status and link.authenticating and self._links.get(link.handle) is link:
            link.authenticating = False
            self._emit(told.Authenticated(link.handle, status))

    def _encryption_answered(self, link: _Link, status: int, _returned: bytes, _now: float) -> None:
        if status and self._links.get(link.handle) is link:
            self._emit(told.EncryptionChanged(link.handle, status, 0, 0))

    def _find(self, whose: int | bytes) -> _Link | None:
        """Returns the LE link with a handle, or the BR/EDR link with an address."""
        if isinstance(whose, int):
            link = self._links.get(whose)
            return None if link is None or link.is_bredr else link
        return next((link for link in self._links.values() if link.is_bredr and link.address == whose), None)

    def _tell(self, address: bytes, event: told.Event) -> None:
        if self._find(address) is None:
            self.counters["security_events_stray"] += 1
        else:
            self._emit(event)

    def _answer(self, kind: type[Packet], whose: int | bytes, reply: HciCommand | None) -> None:
        link = self._find(whose)
        asked = link.asked.pop(kind, None) if link else None
        if asked is None:
            self.counters["security_answers_late"] += 1
        else:
            self._send(reply or QUESTIONS[kind].refusal(asked))

    def _refuse(self, question: Question, asked: Packet) -> None:
        self.counters["security_requests_refused"] += 1
        self._send(question.refusal(asked))


def _checked(key: bytes, size: int) -> bytes:
    if len(key) != size:
        raise LocalProtocolError(f"a key of {len(key)} octets")
    return key


def _key_size(handle: int, untrusted: bytes) -> int:
    """Returns the size in an answer about this link; 0 if it says none that a key can have."""
    try:
        answer = commands.EncryptionKeySize.parse(untrusted)
    except RemoteProtocolError:
        return 0
    return answer.key_size if answer.handle == handle and answer.key_size in _KEY_SIZES else 0
