"""The C client as a library, compiled once."""

import pytest

from tests.serial.c_client import Library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("serial"))
