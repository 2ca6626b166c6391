"""clients/ocaml, run as a program of a guest: against the very service, and against backends that lie."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.clients import hostile, scenario
from tests.clients.client import Client, ClientError
from tests.demo import plan
from tests.sim.world import World
from tests.support import echo_backend
from tests.support import stack as stack_module
from tests.support.domain import Domain, NewDomain
from tests.support.installed import require
from tests.support.stack import Stack
from usbbtd.abi.layout import constants

SOURCES = ROOT / "clients/ocaml"
ADDRESS = "C0:FF:EE:00:00:01"

NewClient = Callable[[Domain], Client]


@pytest.fixture(scope="session")
def program() -> Path:
    """The program that obeys lines, and the libraries, built without a warning."""
    require("OCaml", "dune", "ocamlc")
    built = ROOT / "build/ocaml"
    command: list[str | Path] = ["dune", "build", "--root", SOURCES, "--build-dir", built, "@default"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "directory" not in line]) == (0, [])
    return built / "default/test/lines.exe"


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


@pytest.mark.parametrize("transport", plan.TRANSPORTS)
def test_sdus_of_every_size_come_back(client: Client, transport: plan.Transport) -> None:
    scenario.echoes_sdus_of_every_size(client, transport)


def test_a_peer_connects_to_its_listener(client: Client, stack: Stack) -> None:
    scenario.takes_a_peer_that_connects(client, stack)


def test_it_hears_who_advertises(client: Client) -> None:
    scenario.hears_who_advertises(client)


@pytest.mark.parametrize("transport", plan.TRANSPORTS)
def test_refusals_are_errors_by_kind(client: Client, transport: plan.Transport) -> None:
    scenario.is_refused(client, transport)


def test_it_outlives_a_restart_of_the_service(client: Client, stack: Stack) -> None:
    scenario.outlives_a_restart_of_the_service(client, stack)


def test_it_leaves_nothing(client: Client, stack: Stack, guest: Domain) -> None:
    scenario.leaves_nothing(client, stack, guest)


def test_it_comes_back_after_it_was_killed(client: Client, stack: Stack, guest: Domain, start: NewClient) -> None:
    client.ask("ready")
    scenario.connect(client, "bredr")
    client.kill()
    scenario.echoes_sdus_of_every_size(start(guest), "bredr")


def test_constants_are_those_of_the_header(program: Path, guest: Domain, start: NewClient) -> None:
    pairs = [word.split("=") for word in start(guest).ask("constants")]
    assert len(pairs) > 20
    assert {name: int(value) for name, value in pairs} == {
        name: getattr(constants, f"L2CAPIF_{name}") for name, _ in pairs
    }


def test_the_program_of_the_page_is_one_that_is_built(program: Path) -> None:
    example = (SOURCES / "examples/hello.ml").read_text().partition("\n")[2]
    assert f"```ocaml\n{example}```\n" in (ROOT / "docs/mirageos.md").read_text()


# Backends that behave by PSM


@pytest.fixture
def attached(new_domain: NewDomain) -> tuple[Domain, Domain]:
    """A guest with device 0, and its driver domain, where nothing runs yet."""
    guest, driver = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    return guest, driver


def test_empty_sdus_and_the_end_of_a_channel(attached: tuple[Domain, Domain], start: NewClient) -> None:
    guest, driver = attached
    driver.start(echo_backend.serve, guest.domid)
    client = start(guest)
    client.ask("ready")
    channel, *_ = client.ask("connect", ADDRESS, "bredr", echo_backend.ECHO, 2048, "encrypted")
    assert client.ask("echo", channel, 0, 2048) == ["2049"]
    ending, *_ = client.ask("connect", ADDRESS, "bredr", echo_backend.SAYS_GOODBYE, 2048, "none")
    assert [client.ask("recv", ending) for _ in range(3)] == [["6f6e65"], ["-"], ["7468726565"]]
    with pytest.raises(ClientError) as closed:
        client.ask("recv", ending)
    assert (closed.value.kind, closed.value.text) == ("closed", "closed: it was disconnected")
    client.quit()


def test_a_program_that_does_not_read_stops_the_backend(attached: tuple[Domain, Domain], start: NewClient) -> None:
    guest, driver = attached
    driver.start(echo_backend.serve, guest.domid)
    client = start(guest)
    client.ask("ready")
    flood, *_ = client.ask("connect", ADDRESS, "bredr", echo_backend.FLOODS, 1024, "none")
    counter, *_ = client.ask("connect", ADDRESS, "bredr", echo_backend.REPORTS, 1024, "none")

    def sent() -> int:
        client.ask("send", counter, "00")
        return int(bytes.fromhex(client.ask("recv", counter)[0]))

    before = sent()
    assert sent() == before < 20
    for _ in range(100):
        assert client.ask("recv", flood) == [echo_backend.FLOOD_SDU.hex()]
    assert 100 <= sent() < 140
    client.quit()


def test_the_device_is_made_anew_with_another_backend(
    attached: tuple[Domain, Domain], new_domain: NewDomain, start: NewClient
) -> None:
    guest, driver = attached
    driver.start(echo_backend.serve, guest.domid)
    client = start(guest)
    client.ask("ready")
    guest.world.detach_vl2cap(guest.domid, driver.domid)
    other = new_domain()
    guest.world.attach_vl2cap(guest.domid, other.domid)
    other.start(echo_backend.serve, guest.domid)
    client.ask("ready")
    channel, *_ = client.ask("connect", ADDRESS, "bredr", echo_backend.ECHO, 2048, "none")
    assert client.ask("echo", channel, 1, 20) == ["20"]
    client.quit()


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
        lied_to.ask("connect", ADDRESS, "bredr", psm, 1000, "none")
    assert lost.value.kind == "disconnected"
    assert "command ring" in " ".join(lied_to.ask("trouble"))
    lied_to.ask("ready")
    channel, *_ = lied_to.ask("connect", ADDRESS, "bredr", echo_backend.ECHO, 1000, "none")
    assert lied_to.ask("echo", channel, 1, 20) == ["20"]
    lied_to.quit()


def send_and_receive(client: Client, channel: str) -> None:
    client.ask("send", channel, "01")
    client.ask("recv", channel)


@pytest.mark.parametrize("psm", hostile.RINGS, ids=hostile.name_of)
def test_a_lie_in_a_data_ring_ends_that_channel_alone(lied_to: Client, psm: int) -> None:
    good, *_ = lied_to.ask("connect", ADDRESS, "bredr", echo_backend.ECHO, 1000, "none")
    channel, *_ = lied_to.ask("connect", ADDRESS, "bredr", psm, 1000, "none")
    with pytest.raises(ClientError) as broken:
        send_and_receive(lied_to, channel)
    assert broken.value.kind == "broken"
    lied_to.ask("close", channel)
    assert lied_to.ask("echo", good, 1, 20) == ["20"]
    lied_to.quit()
