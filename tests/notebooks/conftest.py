"""The one option of `make notebooks`, and the notebook that a module tests."""

from collections.abc import Iterator

import pytest
from execution import Session


def pytest_addoption(parser):
    parser.addoption(
        "--update",
        action="store_true",
        help="write what the cells show into notebooks/, to be committed",
    )


@pytest.fixture(scope="module")
def session(request, tmp_path_factory) -> Iterator[Session]:
    """The module's NOTEBOOK, as its cells have run."""
    name = request.module.NOTEBOOK
    folder = tmp_path_factory.mktemp(name)
    with Session(name, folder).started() as session:
        session.run()
        yield session
