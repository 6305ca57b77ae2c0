"""A server that speaks as TF Serving does, for the tests of the client."""

from collections.abc import Iterator
from pathlib import Path

import certificates
import contract_server
import pytest
from contract_server import Contract
from threshold_model import SIGNATURES


@pytest.fixture(autouse=True)
def _direct(monkeypatch) -> None:
    """Reaches 127.0.0.1 where the environment names a proxy, too."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[Contract]:
    with contract_server.serving(SIGNATURES) as contract:
        yield contract


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    return certificates.self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def secured(certificate) -> Iterator[Contract]:
    """The same behind TLS."""
    with contract_server.serving(
        SIGNATURES, certificate=certificate
    ) as contract:
        yield contract
