"""clients/ocaml beside what all clients are tested for: decoders and rings, lies by chance, and in xenstore."""

import subprocess
from pathlib import Path

import pytest

from tests import ROOT
from tests.clients import hostile
from tests.clients.client import Client, ClientError, ClientProgram
from tests.clients.conftest import OCAML
from tests.clients.test_vl2cap import open_in_python
from tests.support import echo_backend
from tests.support.domain import NewDomain
from usbbtd.abi.layout import constants
from usbbtd.l2capif.nodes import MAX_PAGE_ORDER, VERSIONS


def test_constants_are_those_of_the_header(ocaml_client: ClientProgram, new_domain: NewDomain) -> None:
    with Client(new_domain(), ocaml_client) as client:
        pairs = [word.split("=") for word in client.ask("constants")]
    assert len(pairs) > 20
    assert {name: int(value) for name, value in pairs} == {
        name: getattr(constants, f"L2CAPIF_{name}") for name, _ in pairs
    }


def test_the_program_of_the_page_is_one_that_is_built(ocaml_build: Path) -> None:
    assert list((ocaml_build / "examples").glob("*hello*"))
    example = (OCAML / "examples/hello.ml").read_text().partition("\n")[2]
    assert f"```ocaml\n{example}```\n" in (ROOT / "docs/mirageos.md").read_text()


@pytest.mark.parametrize(("program", "seeds"), [("properties", 500), ("storm", 200)])
def test_whatever_the_other_end_does_is_an_error_or_right(ocaml_build: Path, program: str, seeds: int) -> None:
    """Each seed is a test of its own, in the program's process: ``properties.exe SEED 1`` repeats one that failed."""
    command = [str(ocaml_build / "test" / f"{program}.exe"), "0", str(seeds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{seeds} " in done.stdout


@pytest.mark.parametrize(
    ("nodes", "trouble"),
    [
        ({VERSIONS: None}, "node the node versions is not there"),
        ({VERSIONS: "2,10"}, 'version the backend speaks the versions "2,10", and not 1'),
        ({MAX_PAGE_ORDER: None}, "node the node max-page-order is not there"),
        ({MAX_PAGE_ORDER: "0"}, 'node the node max-page-order is "0", which cannot be'),
        ({MAX_PAGE_ORDER: "4294967296"}, 'node the node max-page-order is "4294967296", which cannot be'),
        ({MAX_PAGE_ORDER: "-1"}, 'node the node max-page-order is "-1", which cannot be'),
    ],
)
def test_nodes_that_cannot_be_are_told_until_they_are_right(
    ocaml_client: ClientProgram, new_domain: NewDomain, nodes: dict[str, str | None], trouble: str
) -> None:
    guest, driver = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    wrong = driver.start(hostile.serve_with_nodes, guest.domid, nodes)
    with Client(guest, ocaml_client) as client:
        while (told := " ".join(client.ask("trouble"))) == "-":
            pass
        assert told == trouble
        with pytest.raises(ClientError) as lost:
            client.ask("info")
        assert lost.value.kind == "disconnected"
        wrong.kill()
        driver.start(echo_backend.serve, guest.domid)
        client.ask("ready")
        assert client.ask("trouble") == ["-"]
        client.quit()


def test_a_device_has_one_program(ocaml_client: ClientProgram, new_domain: NewDomain) -> None:
    """As in C and Python, which make the same claim; the one that is there goes on."""
    guest = new_domain()
    with Client(guest, ocaml_client) as first:
        first.ask("trouble")
        with (
            Client(guest, ocaml_client) as second,
            pytest.raises(EOFError, match="device/vl2cap/0 is in use by another"),
        ):
            second.ask("trouble")
        assert guest.run(open_in_python) == "device/vl2cap/0 is in use by another program of this guest"
        first.quit()
    with Client(guest, ocaml_client) as third:
        third.ask("trouble")


def test_without_xen_it_says_so(ocaml_client: ClientProgram, new_domain: NewDomain, tmp_path: Path) -> None:
    nowhere = ocaml_client._replace(environment={**ocaml_client.environment, "XENSTORED_PATH": str(tmp_path / "none")})
    with (
        Client(new_domain(), nowhere) as client,
        pytest.raises(EOFError, match=r"there is no Xen here, .*No such file"),
    ):
        client.ask("trouble")
