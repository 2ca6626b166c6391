"""The tests of every client with the very service: a module has them that makes a subclass."""

import pytest

from tests.clients import scenario
from tests.clients.client import Client
from tests.demo import plan
from tests.support.stack import Stack


class WithTheService:
    """``client`` and ``stack`` are fixtures of the module."""

    def test_it_tells_what_the_adapter_is(self, client: Client) -> None:
        scenario.tells_what_the_adapter_is(client)
        client.quit()

    @pytest.mark.parametrize("transport", plan.TRANSPORTS)
    def test_sdus_of_every_size_come_back(self, client: Client, transport: plan.Transport) -> None:
        scenario.echoes_sdus_of_every_size(client, transport)
        client.quit()

    @pytest.mark.parametrize("transport", plan.TRANSPORTS)
    def test_a_peer_connects_to_its_listener(self, client: Client, stack: Stack, transport: plan.Transport) -> None:
        scenario.takes_a_peer_that_connects(client, stack, transport)
        client.quit()

    @pytest.mark.parametrize("transport", plan.TRANSPORTS)
    def test_it_hears_who_is_there(self, client: Client, transport: plan.Transport) -> None:
        scenario.hears_who_is_there(client, transport)
        client.quit()

    @pytest.mark.parametrize("transport", plan.TRANSPORTS)
    def test_refusals_are_errors_by_kind(self, client: Client, transport: plan.Transport) -> None:
        scenario.is_refused(client, transport)
        client.quit()

    def test_it_outlives_a_restart_of_the_service(self, client: Client, stack: Stack) -> None:
        scenario.outlives_a_restart_of_the_service(client, stack)
        client.quit()
