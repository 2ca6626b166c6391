"""What is written twice in clients/ocaml, and has to be the same."""

from pathlib import Path

from tests import ROOT
from tests.clients.client import Client, ClientProgram
from tests.clients.conftest import OCAML
from tests.support.domain import NewDomain
from usbbtd.abi.layout import constants


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
