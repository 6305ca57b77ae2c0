"""The one option of `make notebooks`."""


def pytest_addoption(parser):
    parser.addoption(
        "--update",
        action="store_true",
        help="write what the cells show into notebooks/, to be committed",
    )
