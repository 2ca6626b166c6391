"""Pairing, authentication and encryption between two simulated controllers, with Bumble's stack as both hosts.

Types of link keys are those of Vol 4, Part E, 7.7.24.
"""

import asyncio
import functools
from contextlib import suppress
from typing import Any

import pytest
from bumble import hci
from bumble.core import PhysicalTransport
from bumble.device import Device, DeviceConfiguration
from bumble.hci import LinkKeyType
from bumble.host import Host
from bumble.keys import MemoryKeyStore
from bumble.link import LocalLink
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.transport.common import AsyncPipeSink

from tests.sim.authentication import (
    REFRESH_ENCRYPTION_KEY,
    SET_MIN_ENCRYPTION_KEY_SIZE,
    WRITE_SIMPLE_PAIRING_DEBUG_MODE,
)
from tests.sim.controller import new_controller
from tests.support.pairing import Notes, RemoteUser

ADDRESSES = ("C0:FF:EE:00:00:10", "C0:FF:EE:00:00:20")
SHOWN, TYPED = PairingDelegate.DISPLAY_OUTPUT_ONLY, PairingDelegate.KEYBOARD_INPUT_ONLY
COMPARED, NOTHING = PairingDelegate.DISPLAY_OUTPUT_AND_YES_NO_INPUT, PairingDelegate.NO_OUTPUT_NO_INPUT
P192, P192_MITM = (
    LinkKeyType.UNAUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_192,
    LinkKeyType.AUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_192,
)
P256, P256_MITM = (
    LinkKeyType.UNAUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_256,
    LinkKeyType.AUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_256,
)
PINS: dict[str, Any] = {"ours": TYPED, "theirs": TYPED, "ssp": False, "sc": False}
AUTHENTICATION_FAILURE, KEY_MISSING, NOT_ACCEPTABLE, INSUFFICIENT_SECURITY = 0x05, 0x06, 0x25, 0x2F
MIC_FAILURE = 0x3D
LTK = bytes(range(16))


class User(RemoteUser):
    """At a device. ``types``: what is typed, instead of what ``notes`` have."""

    def __init__(self, io: Any, notes: Notes, *, says: bool = True, types: int | None = None) -> None:
        super().__init__(io, notes, says=says)
        self.types = types
        self.asked = asyncio.Event()

    async def get_number(self) -> int | None:
        self.asked.set()
        return self.types if self.says and self.types is not None else await super().get_number()

    async def get_string(self, max_length: int) -> str | None:
        return f"{self.types}" if self.says else None


class Party:
    """A device with its user. ``keys``: types of the link keys that it got; ``events``: names of its controller's."""

    def __init__(
        self, link: LocalLink, address: str, user: User, *, sc: bool = True, ssp: bool = True, mitm: bool = True
    ) -> None:
        self.address = hci.Address(address, hci.Address.PUBLIC_DEVICE_ADDRESS)
        self.controller = new_controller(link, address, address)
        self.user = user
        self.keys: list[int] = []
        self.events: list[str] = []
        configuration = DeviceConfiguration(
            name=address, classic_enabled=True, classic_sc_enabled=sc, classic_ssp_enabled=ssp, connectable=True,
            address=hci.Address(address[:-1] + "F"),
        )  # fmt: skip
        self.device = Device(config=configuration, host=Host(self.controller, AsyncPipeSink(self.controller)))
        self.device.keystore = MemoryKeyStore()
        self.device.pairing_config_factory = lambda _: PairingConfig(mitm=mitm, delegate=user)
        self.device.host.on("link_key", lambda _, __, key_type: self.keys.append(key_type))
        send = self.controller.send_hci_packet

        def see(packet: Any) -> None:
            self.events.append(packet.name)
            send(packet)

        self.controller.send_hci_packet = see

    @property
    def connection(self) -> Any:
        [connection] = self.device.connections.values()
        return connection

    async def key_size(self) -> int:
        command = hci.HCI_Read_Encryption_Key_Size_Command(connection_handle=self.connection.handle)
        return int((await self.device.host.send_sync_command(command)).key_size)

    async def command(self, opcode: int, parameters: bytes) -> int:
        """Returns the status of one that Bumble has no class for."""
        response = await self.device.host._send_command(hci.HCI_Command(parameters, op_code=opcode))
        status = getattr(response, "status", None)
        return int(response.return_parameters.data[0] if status is None else status)


Pair = tuple[Party, Party]


async def linked(
    ours: Any = NOTHING, theirs: Any = NOTHING, *, sc: bool = True, ssp: bool = True, mitm: bool = True, **user: Any
) -> Pair:
    """Two devices with a BR/EDR link. ``user``: of theirs."""
    link = LocalLink()
    notes = Notes()
    one = Party(
        link, "C0:FF:EE:00:00:10", User(ours, notes, types=user.pop("we_type", None)), sc=sc, ssp=ssp, mitm=mitm
    )
    other = Party(link, "C0:FF:EE:00:00:20", User(theirs, notes, **user), sc=sc, ssp=ssp, mitm=mitm)
    for party in (one, other):
        await party.device.power_on()
    await one.device.connect(other.address, PhysicalTransport.BR_EDR)
    return one, other


@pytest.mark.parametrize("sc", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs", "mitm", "authenticated"),
    [
        (NOTHING, NOTHING, True, False),
        (COMPARED, NOTHING, True, False),
        (TYPED, NOTHING, True, False),
        (SHOWN, COMPARED, True, False),
        (COMPARED, COMPARED, True, True),
        (COMPARED, COMPARED, False, False),
        (SHOWN, TYPED, True, True),
        (TYPED, COMPARED, True, True),
    ],
)
async def test_association_models(ours: Any, theirs: Any, mitm: bool, authenticated: bool, sc: bool) -> None:
    one, other = await linked(ours, theirs, sc=sc, mitm=mitm)
    await one.connection.authenticate()
    expected = (P256_MITM if authenticated else P256) if sc else (P192_MITM if authenticated else P192)
    assert one.keys == other.keys == [expected]
    await one.connection.encrypt()
    assert one.connection.encryption == other.connection.encryption == (2 if sc else 1)
    assert await one.key_size() == await other.key_size() == 16


async def test_both_see_the_same_number() -> None:
    one, other = await linked(COMPARED, COMPARED)
    await one.connection.authenticate()
    assert one.user.compared == other.user.compared != []


async def test_two_keyboards_type_the_same() -> None:
    one, other = await linked(TYPED, TYPED, types=123456, we_type=123456)
    await one.connection.authenticate()
    assert one.keys == other.keys == [P256_MITM]


async def test_events_of_pairing_come_in_a_controllers_order() -> None:
    one, other = await linked(COMPARED, COMPARED)
    del one.events[:], other.events[:]
    await one.connection.authenticate()
    pairing = [
        "HCI_USER_CONFIRMATION_REQUEST_EVENT",
        "HCI_SIMPLE_PAIRING_COMPLETE_EVENT",
        "HCI_LINK_KEY_NOTIFICATION_EVENT",
    ]
    request, response = "HCI_IO_CAPABILITY_REQUEST_EVENT", "HCI_IO_CAPABILITY_RESPONSE_EVENT"
    assert [event for event in one.events if "COMMAND" not in event] == [
        "HCI_LINK_KEY_REQUEST_EVENT", request, response, *pairing, "HCI_AUTHENTICATION_COMPLETE_EVENT",
    ]  # fmt: skip
    assert [event for event in other.events if "COMMAND" not in event] == [response, request, *pairing]


async def test_pins() -> None:
    one, other = await linked(**PINS, types=1234, we_type=1234)
    await one.connection.authenticate()
    assert one.keys == other.keys == [LinkKeyType.COMBINATION_KEY]
    await other.connection.encrypt()
    assert one.connection.encryption == 1


async def failure(party: Party) -> int:
    with pytest.raises(hci.HCI_Error) as caught:
        await party.connection.authenticate()
    return int(caught.value.error_code)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (
            {"ours": TYPED, "theirs": TYPED, "ssp": False, "sc": False, "types": 1234, "we_type": 1235},
            AUTHENTICATION_FAILURE,
        ),
        ({"ours": TYPED, "theirs": TYPED, "ssp": False, "sc": False, "says": False}, KEY_MISSING),
        ({"ours": COMPARED, "theirs": COMPARED, "says": False}, AUTHENTICATION_FAILURE),
        ({"ours": SHOWN, "theirs": TYPED, "says": False}, AUTHENTICATION_FAILURE),
        ({"ours": SHOWN, "theirs": TYPED, "types": 1_000_000}, AUTHENTICATION_FAILURE),
    ],
)
async def test_what_ends_pairing(arguments: dict[str, Any], status: int) -> None:
    one, other = await linked(**arguments)
    assert await failure(one) == status
    assert one.keys == other.keys == []
    with suppress(hci.HCI_Error):
        await one.connection.encrypt()
    assert not one.connection.encryption


async def test_a_stored_key_authenticates() -> None:
    """Once more on a link of its own, without pairing."""
    one, other = await linked()
    await one.connection.authenticate()
    await one.connection.disconnect()
    await one.device.connect(other.address, PhysicalTransport.BR_EDR)
    await one.connection.authenticate()
    await one.connection.encrypt()
    assert one.keys == other.keys == [P256]


@pytest.mark.parametrize(("forgets", "status"), [(True, KEY_MISSING), (False, AUTHENTICATION_FAILURE)])
async def test_a_peer_without_the_key_is_found_out(forgets: bool, status: int) -> None:
    one, other = await linked()
    await one.connection.authenticate()
    name = str(one.address)
    keys = await other.device.keystore.get(name)
    if forgets:
        await other.device.keystore.delete(name)
    else:
        keys.link_key.value = bytes(16)
        await other.device.keystore.update(name, keys)
    assert await failure(one) == status


async def test_a_link_without_a_key_is_not_encrypted() -> None:
    one, _ = await linked()
    with pytest.raises(hci.HCI_Error) as caught:
        await one.connection.encrypt()
    assert caught.value.error_code == KEY_MISSING


@pytest.mark.parametrize("size", [1, 7, 16])
async def test_the_smaller_key_size_counts(size: int) -> None:
    one, other = await linked(sc=False)
    other.controller.authentication.max_key_size = size
    assert await one.command(SET_MIN_ENCRYPTION_KEY_SIZE, b"\x01") == 0
    other.controller.authentication.min_key_size = 1
    await one.connection.authenticate()
    await one.connection.encrypt()
    assert await one.key_size() == size


async def test_a_key_shorter_than_the_least_is_refused() -> None:
    one, other = await linked(sc=False)
    other.controller.authentication.max_key_size = 6
    await one.connection.authenticate()
    with pytest.raises(hci.HCI_Error) as caught:
        await one.connection.encrypt()
    assert caught.value.error_code == NOT_ACCEPTABLE
    with pytest.raises(hci.HCI_Error) as caught:
        await one.key_size()
    assert caught.value.error_code == INSUFFICIENT_SECURITY


@pytest.mark.parametrize(("sc", "stops"), [(False, True), (True, False)])
async def test_only_the_older_encryption_can_be_switched_off(sc: bool, stops: bool) -> None:
    one, other = await linked(sc=sc)
    await one.connection.authenticate()
    await one.connection.encrypt()
    with suppress(hci.HCI_Error):
        await one.connection.encrypt(enable=False)
    assert (one.connection.encryption == 0) == (other.connection.encryption == 0) == stops


async def test_a_fresh_key_at_both_ends() -> None:
    one, other = await linked()
    await one.connection.authenticate()
    await one.connection.encrypt()
    refreshed = asyncio.get_running_loop().create_future()
    other.connection.on("connection_encryption_key_refresh", lambda: refreshed.set_result(None))
    assert await one.command(REFRESH_ENCRYPTION_KEY, one.connection.handle.to_bytes(2, "little")) == 0
    await refreshed
    assert "HCI_ENCRYPTION_KEY_REFRESH_COMPLETE_EVENT" in one.events


async def test_encryption_pauses_for_a_role_switch() -> None:
    one, other = await linked()
    await one.connection.authenticate()
    await one.connection.encrypt()
    refreshed = asyncio.Event()
    other.connection.on("connection_encryption_key_refresh", refreshed.set)
    await one.connection.switch_role(hci.Role.PERIPHERAL)
    await refreshed.wait()
    for party in (one, other):
        assert party.events[-2:] == ["HCI_ROLE_CHANGE_EVENT", "HCI_ENCRYPTION_KEY_REFRESH_COMPLETE_EVENT"]


async def test_debug_keys_are_told() -> None:
    one, other = await linked()
    assert await other.command(WRITE_SIMPLE_PAIRING_DEBUG_MODE, b"\x01") == 0
    await one.connection.authenticate()
    assert one.keys == [LinkKeyType.DEBUG_COMBINATION_KEY]


async def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    one, other = await linked()
    command = hci.HCI_User_Confirmation_Request_Reply_Command(bd_addr=other.address)
    with pytest.raises(hci.HCI_Error) as caught:
        await one.device.host.send_sync_command(command)
    assert caught.value.error_code == 0x0C


async def test_the_end_of_a_link_ends_what_is_under_way() -> None:
    one, other = await linked(SHOWN, TYPED)
    other.user.notes = Notes()  # where nothing comes
    authenticating = asyncio.ensure_future(one.connection.authenticate())
    await other.user.asked.wait()
    await one.connection.disconnect()
    with pytest.raises(asyncio.CancelledError):
        await authenticating
    assert not one.keys


async def le_linked(key: bytes | None) -> Pair:
    """A link over LE, to a peer that has this key for it."""
    link = LocalLink()
    notes = Notes()
    one, other = (Party(link, address, User(NOTHING, notes)) for address in ADDRESSES)
    for party in (one, other):
        await party.device.power_on()

    async def find(*_: object) -> bytes | None:
        return key

    other.device.host.long_term_key_provider = find
    await other.device.start_advertising(advertising_interval_min=20, advertising_interval_max=20)
    await one.device.connect(other.device.static_address)
    return one, other


async def encrypt_le(party: Party) -> str | int:
    """Returns the event that comes of it, or the status of a failure or of the link's end: Vol 4, Part E, 7.8.24."""
    told: asyncio.Queue[str | int] = asyncio.Queue()
    for event in ("encryption_change", "encryption_key_refresh"):
        party.connection.once(f"connection_{event}", functools.partial(told.put_nowait, event))
    for event in ("connection_encryption_failure", "disconnection"):
        party.connection.once(event, told.put_nowait)
    command = hci.HCI_LE_Enable_Encryption_Command(
        connection_handle=party.connection.handle, random_number=bytes(8), encrypted_diversifier=0, long_term_key=LTK
    )
    await party.device.host.send_async_command(command)
    return await told.get()


async def test_le_is_encrypted_at_both_ends_and_again() -> None:
    one, other = await le_linked(LTK)
    assert await encrypt_le(one) == "encryption_change"
    assert one.connection.encryption == other.connection.encryption == 1
    assert await encrypt_le(one) == "encryption_key_refresh"
    assert "HCI_ENCRYPTION_KEY_REFRESH_COMPLETE_EVENT" in other.events


@pytest.mark.parametrize(("theirs", "status"), [(None, KEY_MISSING), (bytes(16), MIC_FAILURE)])
async def test_what_le_does_without_the_key(theirs: bytes | None, status: int) -> None:
    one, other = await le_linked(theirs)
    assert await encrypt_le(one) == status
    assert len(one.device.connections) == len(other.device.connections) == (status == KEY_MISSING)
