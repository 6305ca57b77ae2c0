"""A server that speaks as TF Serving does, for the tests of the client."""

from collections.abc import Iterator

import contract_server
import pytest
from threshold_model import SIGNATURES


@pytest.fixture(autouse=True)
def _direct(monkeypatch) -> None:
    """Reaches 127.0.0.1 where the environment names a proxy, too."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[contract_server.Contract]:
    with contract_server.serving(SIGNATURES) as contract:
        yield contract
