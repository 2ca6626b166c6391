"""The C library in a Linux guest, by lines.c with sanitizers: with the very service, and with backends that lie."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients import hostile, scenario
from tests.clients.client import Client, ClientError
from tests.clients.programs import compile_program
from tests.demo import plan
from tests.sim.world import World
from tests.support import echo_backend
from tests.support import stack as stack_module
from tests.support.domain import Domain, NewDomain
from tests.support.stack import Stack

ADDRESS = "C0:FF:EE:00:00:01"

NewClient = Callable[[Domain], Client]


@pytest.fixture(scope="module")
def program(sanitized: Path) -> Path:
    """The program that obeys lines."""
    return compile_program(sanitized, Path(__file__).parent / "lines.c")


@pytest.fixture
def start(program: Path) -> Iterator[NewClient]:
    clients: list[Client] = []

    def new_client(guest: Domain) -> Client:
        clients.append(Client(guest, [program]))
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


def test_it_tells_what_the_adapter_is(client: Client) -> None:
    scenario.tells_what_the_adapter_is(client)
    client.quit()


@pytest.mark.parametrize("transport", plan.TRANSPORTS)
def test_sdus_of_every_size_come_back(client: Client, transport: plan.Transport) -> None:
    scenario.echoes_sdus_of_every_size(client, transport)
    client.quit()


def test_a_peer_connects_to_its_listener(client: Client, stack: Stack) -> None:
    scenario.takes_a_peer_that_connects(client, stack)
    client.quit()


def test_it_hears_who_advertises(client: Client) -> None:
    scenario.hears_who_advertises(client)
    client.quit()


@pytest.mark.parametrize("transport", plan.TRANSPORTS)
def test_refusals_are_errors_by_kind(client: Client, transport: plan.Transport) -> None:
    scenario.is_refused(client, transport)
    client.quit()


def test_it_outlives_a_restart_of_the_service(client: Client, stack: Stack) -> None:
    scenario.outlives_a_restart_of_the_service(client, stack)
    client.quit()


def test_it_leaves_nothing(client: Client, stack: Stack, guest: Domain) -> None:
    scenario.leaves_nothing(client, stack, guest)


def test_it_comes_back_after_it_was_killed(client: Client, stack: Stack, guest: Domain, start: NewClient) -> None:
    client.ask("ready")
    scenario.connect(client, "bredr")
    client.kill()
    again = start(guest)
    scenario.echoes_sdus_of_every_size(again, "bredr")
    again.quit()
    assert guest.world.statistics()[guest.domid]["shared"] == 0


# Backends that lie


@pytest.fixture
def lied_to(new_domain: NewDomain, start: NewClient) -> Client:
    guest, driver = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    driver.start(hostile.serve, guest.domid)
    client = start(guest)
    client.ask("ready")
    return client


@pytest.mark.parametrize("psm", hostile.RESPONSES, ids=hostile.name_of)
def test_a_lie_in_a_response_ends_the_connection_and_it_connects_again(lied_to: Client, psm: int) -> None:
    with pytest.raises(ClientError) as lost:
        lied_to.ask("connect", ADDRESS, "bredr", psm, 1000, "none")
    assert lost.value.kind == "disconnected"
    assert lost.value.text.startswith(f"connect to {ADDRESS}, PSM {psm:#x}: the backend's ")
    lied_to.ask("ready")
    channel, *_ = lied_to.ask("connect", ADDRESS, "bredr", echo_backend.ECHO, 1000, "none")
    assert lied_to.ask("echo", channel, 1, 20) == ["20"]
    lied_to.quit()


@pytest.mark.parametrize("psm", hostile.RINGS, ids=hostile.name_of)
def test_a_lie_in_a_data_ring_ends_that_channel_alone(lied_to: Client, psm: int) -> None:
    good, *_ = lied_to.ask("connect", ADDRESS, "bredr", echo_backend.ECHO, 1000, "none")
    channel, *_ = lied_to.ask("connect", ADDRESS, "bredr", psm, 1000, "none")
    with pytest.raises(ClientError) as broken:
        lied_to.ask("echo", channel, 1, 1000)  # more than fits in the ring: it looks at what was consumed, too
    assert broken.value.kind == "broken"
    lied_to.ask("close", channel)
    assert lied_to.ask("echo", good, 1, 20) == ["20"]
    lied_to.quit()
