"""Runs notebooks/03_export_and_serve.ipynb, also with a server on the path."""

import sys
from pathlib import Path

from everyone import (  # noqa: F401
    test_it_runs_without_trouble,
    test_the_committed_outputs_are_its_own,
)
from execution import Session

NOTEBOOK = "03_export_and_serve"

SERVER = Path(__file__).parent / "model_server.py"


def test_every_export_finds_what_the_model_finds(session: Session) -> None:
    for name, least in {
        "served": 0.999,
        "litert": 0.999,
        "int8": 0.95,
        "onnx": 0.999,
    }.items():
        share = session.ask(f"float(({name} == wanted).mean())")
        assert least <= share <= 1, name
    # Or all would agree about nothing.
    assert session.ask("len(np.unique(wanted))") == 5


def test_the_server_was_one_of_its_own_and_is_gone(session: Session) -> None:
    assert session.ask("server.poll() is not None")
    assert session.ask("command[1]") == "-I"
    assert session.ask("Path('server.log').read_text()").count("POST") == 1


def test_a_server_on_the_path_is_started(session: Session, tmp_path) -> None:
    """TF Serving's wire contract stands for the program, which is not here."""
    program = tmp_path / "tensorflow_model_server"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{SERVER}" "$@"\n')
    program.chmod(0o755)
    session.do(
        f"os.environ['PATH'] = {str(tmp_path)!r} + ':' + os.environ['PATH']"
    )
    try:
        said = session.again("start")
        assert "Skipped" not in said and "AVAILABLE" in said
        session.do("del served")
        assert "status: ['OK']" in session.again("request")
        assert session.ask("float((served == wanted).mean())") >= 0.999
        assert session.ask("command[0]") == str(program)
    finally:
        session.do("server.terminate(); server.wait()")
