"""A BR/EDR link between two simulated controllers: what they do for its security, as their hosts see it.

Vol 2, Part C, 4.2 and Vol 2, Part F, 4. Nothing is encrypted and no key is computed: keys and numbers are drawn, and
what both ends should have alike is compared.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from bumble import hci

#: How long a host may take over an answer: the LMP response timeout, Vol 2, Part C, 2.6.
ANSWER_LIMIT_S = 30
E0, AES_CCM = 1, 2
_KEY_OCTETS = 16
_MITM = 1  # of authentication requirements: Vol 4, Part E, 7.1.29
_error, _io, _key_type = hci.HCI_ErrorCode, hci.IoCapability, hci.LinkKeyType
#: The types of link keys, by whether Secure Connections made them and whether the peer was authenticated.
_KEY_TYPES = {
    (False, False): _key_type.UNAUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_192,
    (False, True): _key_type.AUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_192,
    (True, False): _key_type.UNAUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_256,
    (True, True): _key_type.AUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_256,
}


class ProcedureError(Exception):
    """A procedure has failed. ``status``: the error code that the hosts are told."""

    def __init__(self, status: int) -> None:
        super().__init__(hci.HCI_Constant.error_name(status))
        self.status = status


class IoCapabilities(NamedTuple):
    """A host's answer to IO_Capability_Request."""

    io_capability: int
    oob_data_present: int
    requirements: int


class OobData(NamedTuple):
    """Commitment and randomizer of P-192 and of P-256, 32 octets each. None: there is none."""

    p192: bytes | None
    p256: bytes | None


class Secured(Protocol):
    """What a link needs of the controllers at its ends. Sizes of keys are in octets."""

    min_key_size: int
    max_key_size: int
    has_debug_keys: bool
    oob_data: OobData | None

    @property
    def address(self) -> Any: ...

    @property
    def has_simple_pairing(self) -> bool: ...

    @property
    def has_secure_connections(self) -> bool: ...

    def tell(self, event: Any) -> None: ...


class End:
    """One end of a link. It asks its host one question at a time.

    ``handle``: returns that of the connection.
    """

    def __init__(self, controller: Secured, peer_address: Any, handle: Callable[[], int]) -> None:
        self.controller = controller
        self.peer_address = peer_address
        self.handle = handle
        self._question = ""
        self._answer: asyncio.Future[Any] | None = None

    def tell(self, event: type[Any], **parameters: Any) -> None:
        """An event about the connection."""
        self.controller.tell(event(connection_handle=self.handle(), **parameters))

    def tell_of_peer(self, event: type[Any], **parameters: Any) -> None:
        """An event about the peer."""
        self.controller.tell(event(bd_addr=self.peer_address, **parameters))

    async def ask(self, question: type[Any], **parameters: Any) -> Any:
        """Returns the host's answer: None if it refuses. Raises ProcedureError if there is none in time."""
        self._question, self._answer = question.__name__, asyncio.get_running_loop().create_future()
        self.tell_of_peer(question, **parameters)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await self._answer
        except TimeoutError:
            raise ProcedureError(_error.LMP_RESPONSE_TIMEOUT_ERROR_LL_RESPONSE_TIMEOUT_ERROR) from None
        finally:
            self._answer = None

    async def need(self, question: type[Any], refused: int, **parameters: Any) -> Any:
        """As ``ask``. Raises ProcedureError with the status ``refused`` if the host refuses."""
        if (answer := await self.ask(question, **parameters)) is None:
            raise ProcedureError(refused)
        return answer

    def answer(self, question: type[Any], answer: object) -> bool:
        """From the host. Returns whether it has been asked this."""
        if self._answer is None or self._answer.done() or self._question != question.__name__:
            return False
        self._answer.set_result(answer)
        return True


class SecuredLink:
    """The link. Its procedures run one at a time; a host's wish is begun after its Command_Status."""

    def __init__(self, one: End, other: End) -> None:
        self.ends = (one, other)
        self.encryption = 0  # or E0 or AES_CCM
        self.key_size = 0
        self._key: bytes | None = None
        self._turn = asyncio.Lock()
        self._procedures: set[asyncio.Task[None]] = set()

    def end_of(self, controller: Secured) -> End:
        return next(end for end in self.ends if end.controller is controller)

    def end(self) -> None:
        """The link is gone, and with it what is under way."""
        for task in self._procedures:
            task.cancel()

    def authenticate(self, ours: End) -> None:
        def tell(status: int) -> None:
            ours.tell(hci.HCI_Authentication_Complete_Event, status=status)

        self._begin(self._authenticate(ours), tell, tells_success=True)

    def encrypt(self, ours: End, *, on: bool) -> None:
        def tell(status: int) -> None:
            enabled = self.encryption
            ours.tell(hci.HCI_Encryption_Change_Event, status=status, encryption_enabled=enabled)

        self._begin(self._encrypt(on=on), tell)

    def refresh_key(self, ours: End) -> None:
        """Pauses encryption, and resumes it with a fresh key: Vol 2, Part C, 4.2.5.8."""

        def tell(status: int) -> None:
            ours.tell(hci.HCI_Encryption_Key_Refresh_Complete_Event, status=status)

        self._begin(self._refresh_key(), tell)

    def _begin(
        self, procedure: Coroutine[Any, Any, None], tell: Callable[[int], None], *, tells_success: bool = False
    ) -> None:
        async def run() -> None:
            async with self._turn:
                try:
                    await procedure
                except ProcedureError as error:
                    tell(error.status)
                else:
                    if tells_success:
                        tell(_error.SUCCESS)

        task = asyncio.get_running_loop().create_task(run())
        self._procedures.add(task)
        task.add_done_callback(self._procedures.discard)
        task.add_done_callback(lambda _: procedure.close())

    def _both_have(self, ability: Callable[[Secured], bool]) -> bool:
        return all(ability(end.controller) for end in self.ends)

    def _is_secure(self) -> bool:
        return self._both_have(lambda controller: controller.has_secure_connections)

    async def _authenticate(self, ours: End) -> None:
        """By the key that both hosts have, or by pairing if ours has none: Vol 2, Part C, 4.2.1."""
        theirs = next(end for end in self.ends if end is not ours)
        key = await ours.ask(hci.HCI_Link_Key_Request_Event)
        if key is not None:
            their_key = await theirs.need(hci.HCI_Link_Key_Request_Event, _error.PIN_OR_KEY_MISSING_ERROR)
            if key != their_key:
                raise ProcedureError(_error.AUTHENTICATION_FAILURE_ERROR)
            self._key = key
        elif self._both_have(lambda controller: controller.has_simple_pairing):
            await self._pair(ours, theirs)
        else:
            await self._pair_by_pin(ours, theirs)

    async def _pair_by_pin(self, ours: End, theirs: End) -> None:
        """Vol 2, Part C, 4.2.2."""
        question, refused = hci.HCI_PIN_Code_Request_Event, _error.PIN_OR_KEY_MISSING_ERROR
        if await ours.need(question, refused) != await theirs.need(question, refused):
            raise ProcedureError(_error.AUTHENTICATION_FAILURE_ERROR)
        self._set_key(_key_type.COMBINATION_KEY)

    async def _pair(self, ours: End, theirs: End) -> None:
        """Simple pairing: Vol 2, Part C, 4.2.7."""
        involved = [ours]
        try:
            our_io = await self._io_capabilities(ours)
            involved.append(theirs)
            _tell_io_capabilities(theirs, our_io)
            their_io = await self._io_capabilities(theirs)
            _tell_io_capabilities(ours, their_io)
            authenticated = await self._verify((ours, our_io), (theirs, their_io))
        except ProcedureError as error:
            for end in involved:
                end.tell_of_peer(hci.HCI_Simple_Pairing_Complete_Event, status=error.status)
            raise
        for end in self.ends:
            end.tell_of_peer(hci.HCI_Simple_Pairing_Complete_Event, status=_error.SUCCESS)
        if any(end.controller.has_debug_keys for end in self.ends):
            self._set_key(_key_type.DEBUG_COMBINATION_KEY)
        else:
            self._set_key(_KEY_TYPES[self._is_secure(), authenticated])

    async def _io_capabilities(self, end: End) -> IoCapabilities:
        """Raises ProcedureError with the host's reason if it does not want to pair."""
        answer = await end.ask(hci.HCI_IO_Capability_Request_Event)
        if not isinstance(answer, IoCapabilities):
            raise ProcedureError(answer)
        return answer

    async def _verify(self, ours: tuple[End, IoCapabilities], theirs: tuple[End, IoCapabilities]) -> bool:
        """Returns whether this protected from a man in the middle. The association models: Vol 3, Part C, 5.2.2.6."""
        capabilities = {ours[1].io_capability, theirs[1].io_capability}
        if ours[1].oob_data_present or theirs[1].oob_data_present:
            await self._compare_oob_data(ours, theirs)
            return True
        wanted = (ours[1].requirements | theirs[1].requirements) & _MITM
        if wanted and _io.KEYBOARD_ONLY in capabilities and _io.NO_INPUT_NO_OUTPUT not in capabilities:
            await self._compare_passkeys(ours, theirs)
            return True
        number = secrets.randbelow(1_000_000)
        refused = _error.AUTHENTICATION_FAILURE_ERROR
        question = hci.HCI_User_Confirmation_Request_Event
        await _together(*(end.need(question, refused, numeric_value=number) for end in self.ends))
        return bool(wanted) and capabilities == {_io.DISPLAY_YES_NO}

    async def _compare_passkeys(self, *both: tuple[End, IoCapabilities]) -> None:
        """The end with a display shows it, the other's user types it; two keyboards type the same."""
        passkey = secrets.randbelow(1_000_000)
        questions = []
        for end, capabilities in both:
            if capabilities.io_capability == _io.KEYBOARD_ONLY:
                questions.append(end.need(hci.HCI_User_Passkey_Request_Event, _error.AUTHENTICATION_FAILURE_ERROR))
            else:
                end.tell_of_peer(hci.HCI_User_Passkey_Notification_Event, passkey=passkey)
        typed = set(await _together(*questions))
        if len(questions) == 1:
            typed.add(passkey)
        if len(typed) > 1:
            raise ProcedureError(_error.AUTHENTICATION_FAILURE_ERROR)

    async def _compare_oob_data(self, *both: tuple[End, IoCapabilities]) -> None:
        """What a host has got of the other must be what the other's controller made."""
        for (end, capabilities), (peer, _) in (both, both[::-1]):
            if not capabilities.oob_data_present:
                continue
            given = await end.need(hci.HCI_Remote_OOB_Data_Request_Event, _error.AUTHENTICATION_FAILURE_ERROR)
            made = peer.controller.oob_data
            secure = self._is_secure() and given.p256 is not None
            if made is None or (given.p256 != made.p256 if secure else given.p192 != made.p192):
                raise ProcedureError(_error.AUTHENTICATION_FAILURE_ERROR)

    def _set_key(self, key_type: int) -> None:
        self._key = secrets.token_bytes(_KEY_OCTETS)
        for end in self.ends:
            end.tell_of_peer(hci.HCI_Link_Key_Notification_Event, link_key=self._key, key_type=key_type)

    async def _encrypt(self, *, on: bool) -> None:
        """Vol 2, Part C, 4.2.5. Encryption by AES-CCM is never switched off."""
        if not on and self.encryption == AES_CCM:
            raise ProcedureError(_error.ENCRYPTION_MODE_NOT_ACCEPTABLE_ERROR)
        if on and self._key is None:
            raise ProcedureError(_error.PIN_OR_KEY_MISSING_ERROR)
        size = min(end.controller.max_key_size for end in self.ends)
        if on and size < max(end.controller.min_key_size for end in self.ends):
            raise ProcedureError(_error.ENCRYPTION_MODE_NOT_ACCEPTABLE_ERROR)
        self.key_size = size if on else 0
        self.encryption = (AES_CCM if self._is_secure() else E0) if on else 0
        for end in self.ends:
            enabled = self.encryption
            end.tell(hci.HCI_Encryption_Change_Event, status=_error.SUCCESS, encryption_enabled=enabled)

    async def _refresh_key(self) -> None:
        if not self.encryption:
            raise ProcedureError(_error.COMMAND_DISALLOWED_ERROR)
        for end in self.ends:
            end.tell(hci.HCI_Encryption_Key_Refresh_Complete_Event, status=_error.SUCCESS)


def _tell_io_capabilities(end: End, peer: IoCapabilities) -> None:
    end.tell_of_peer(
        hci.HCI_IO_Capability_Response_Event,
        io_capability=peer.io_capability,
        oob_data_present=peer.oob_data_present,
        authentication_requirements=peer.requirements,
    )


async def _together(*questions: Coroutine[Any, Any, Any]) -> list[Any]:
    """Returns all answers. The first that fails ends the others."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
