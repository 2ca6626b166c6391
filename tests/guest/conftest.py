"""A guest whose driver domain runs echo_backend.py."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.support.domain import Domain, DomainProcess, NewDomain
from tests.support.echo_backend import serve


class Pair(NamedTuple):
    guest: Domain
    start_backend: Callable[..., DomainProcess]


@pytest.fixture
def pair(new_domain: NewDomain) -> Pair:
    """Attached, with no backend running yet."""
    driver, guest = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    return Pair(guest, lambda *how: driver.start(serve, guest.domid, *how))


@pytest.fixture
def guest(pair: Pair) -> Domain:
    """With its backend."""
    pair.start_backend()
    return pair.guest
