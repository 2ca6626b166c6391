"""Every client in another language than Python: with the very service, with backends that behave by PSM, or lie."""

from collections.abc import Callable, Iterator

import pytest

from tests.clients import hostile, scenario
from tests.clients.client import Client, ClientError, ClientProgram
from tests.clients.with_the_service import WithTheService
from tests.sim.world import World
from tests.support import echo_backend
from tests.support import stack as stack_module
from tests.support.domain import Domain, NewDomain
from tests.support.stack import Stack

ADDRESS = "C0:FF:EE:00:00:01"

NewClient = Callable[[Domain], Client]


@pytest.fixture(scope="module", params=["linux_client", "windows_client", "ocaml_client"])
def program(request: pytest.FixtureRequest) -> ClientProgram:
    program: ClientProgram = request.getfixturevalue(request.param)
    return program


@pytest.fixture
def start(program: ClientProgram) -> Iterator[NewClient]:
    clients: list[Client] = []

    def new_client(guest: Domain) -> Client:
        clients.append(Client(guest, program))
        return clients[-1]

    yield new_client
    for client in clients:
        client.__exit__()


# The very service


@pytest.fixture(scope="module")
def stack(world: World, domids: Iterator[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_module.Stack(world, tmp_path_factory.mktemp("stack"), domids, scenario.POLICY) as running:
        yield running


@pytest.fixture
def guest(stack: Stack, new_domain: NewDomain) -> Domain:
    return stack.new_guest(new_domain)


@pytest.fixture
def client(guest: Domain, start: NewClient) -> Client:
    return start(guest)


class TestTheService(WithTheService):
    """What every client has to be able to do."""


def test_it_leaves_nothing(client: Client, stack: Stack, guest: Domain) -> None:
    scenario.leaves_nothing(client, stack, guest)


def test_it_comes_back_after_it_was_killed(client: Client, guest: Domain, start: NewClient) -> None:
    client.ask("ready")
    scenario.connect(client, "bredr")
    client.kill()
    again = start(guest)
    scenario.echoes_sdus_of_every_size(again, "bredr")
    again.quit()
    assert guest.world.statistics()[guest.domid]["shared"] == 0


# Backends that behave by PSM


@pytest.fixture
def attached(new_domain: NewDomain) -> tuple[Domain, Domain]:
    """A guest with device 0, and its driver domain, where nothing runs yet."""
    guest, driver = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    return guest, driver


@pytest.fixture
def echoed(attached: tuple[Domain, Domain], start: NewClient) -> Client:
    guest, driver = attached
    driver.start(echo_backend.serve, guest.domid)
    client = start(guest)
    client.ask("ready")
    return client


def connect(client: Client, psm: int, mtu: int = 1000, level: str = "none") -> str:
    return client.ask("connect", ADDRESS, "bredr", psm, mtu, level)[0]


def test_empty_sdus_and_the_end_of_a_channel(echoed: Client) -> None:
    channel = connect(echoed, echo_backend.ECHO, 2048, "encrypted")
    assert echoed.ask("echo", channel, 0, 2048) == ["2049"]
    ending = connect(echoed, echo_backend.SAYS_GOODBYE)
    assert [echoed.ask("recv", ending) for _ in range(3)] == [["6f6e65"], ["-"], ["7468726565"]]
    with pytest.raises(ClientError) as closed:
        echoed.ask("recv", ending)
    assert (closed.value.kind, "disconnected" in closed.value.text) == ("closed", True)
    echoed.quit()


def test_a_program_that_does_not_read_stops_the_backend(echoed: Client) -> None:
    flood = connect(echoed, echo_backend.FLOODS, 1024)
    counter = connect(echoed, echo_backend.REPORTS)

    def sent() -> int:
        echoed.ask("send", counter, "00")
        return int(bytes.fromhex(echoed.ask("recv", counter)[0]))

    before = sent()
    assert sent() == before < 20
    for _ in range(100):
        assert echoed.ask("recv", flood) == [echo_backend.FLOOD_SDU.hex()]
    assert 100 <= sent() < 140
    echoed.quit()


def test_the_device_is_made_anew_with_another_backend(
    echoed: Client, attached: tuple[Domain, Domain], new_domain: NewDomain
) -> None:
    guest, driver = attached
    echoed.say("recv", connect(echoed, echo_backend.ECHO))  # a client may have to be in a call to see to its device
    guest.world.detach_vl2cap(guest.domid, driver.domid)
    with pytest.raises(ClientError) as lost:
        echoed.answer()
    assert lost.value.kind == "disconnected"
    other = new_domain()
    guest.world.attach_vl2cap(guest.domid, other.domid)
    other.start(echo_backend.serve, guest.domid)
    echoed.ask("ready")
    assert echoed.ask("echo", connect(echoed, echo_backend.ECHO), 1, 20) == ["20"]
    echoed.quit()


# Backends that lie


@pytest.fixture
def lied_to(attached: tuple[Domain, Domain], start: NewClient) -> Client:
    guest, driver = attached
    driver.start(hostile.serve, guest.domid)
    client = start(guest)
    client.ask("ready")
    return client


@pytest.mark.parametrize("psm", hostile.RESPONSES, ids=hostile.name_of)
def test_a_lie_in_a_response_ends_the_connection_and_it_connects_again(lied_to: Client, psm: int) -> None:
    with pytest.raises(ClientError) as lost:
        connect(lied_to, psm)
    assert lost.value.kind == "disconnected"
    assert "the backend" in " ".join(lied_to.ask("trouble"))
    lied_to.ask("ready")
    assert lied_to.ask("echo", connect(lied_to, echo_backend.ECHO), 1, 20) == ["20"]
    lied_to.quit()


@pytest.mark.parametrize("psm", hostile.RINGS, ids=hostile.name_of)
def test_a_lie_in_a_data_ring_ends_that_channel_alone(lied_to: Client, psm: int) -> None:
    good, channel = connect(lied_to, echo_backend.ECHO), connect(lied_to, psm)
    with pytest.raises(ClientError) as broken:
        lied_to.ask("echo", channel, 1, 1000)  # more than fits in the ring: it looks at what was consumed, too
    assert broken.value.kind == "broken"
    lied_to.ask("close", channel)
    assert lied_to.ask("echo", good, 1, 20) == ["20"]
    lied_to.quit()


def test_a_backend_that_sends_without_end_keeps_no_program(lied_to: Client) -> None:
    good, channel, other = (
        connect(lied_to, echo_backend.ECHO),
        connect(lied_to, hostile.ENDLESS),
        connect(lied_to, hostile.ENDLESS),
    )
    lied_to.ask("send", channel, "00")  # so that the end of the channel is waited for
    lied_to.ask("close", channel)
    assert lied_to.ask("echo", good, 1, 20) == ["20"]
    with pytest.raises(ClientError) as lost:
        connect(lied_to, next(iter(hostile.RESPONSES)))
    assert lost.value.kind == "disconnected"
    lied_to.ask("close", other)
    lied_to.ask("ready")
    lied_to.quit()
