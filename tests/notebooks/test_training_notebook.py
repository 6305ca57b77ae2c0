"""Runs notebooks/02_train_your_own.ipynb, also with what it would fetch."""

import os
from collections.abc import Iterator

import pytest
from everyone import check_or_write_outputs, check_run
from execution import Session
from published import mirror_of_voc
from test_builders import write_pets

# The archives of Oxford Pets, as if they had been fetched and unpacked.
ARCHIVES = """
import pathlib
import tensorflow_datasets as tfds

tfds.download.DownloadManager.download_and_extract = lambda self, urls: {{
    name: pathlib.Path({folder!r}) / name for name in urls
}}
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("training")
    with Session("02_train_your_own", folder).started() as session:
        session.run()
        yield session


def test_it_runs_without_trouble(session: Session) -> None:
    check_run(session)


def test_the_committed_outputs_are_its_own(session: Session, request) -> None:
    check_or_write_outputs(session, request.config.getoption("update"))


def test_the_folder_is_one_s_own(session: Session) -> None:
    for split, count in (("train", 240), ("val", 40)):
        for part in ("images", "masks"):
            folder = session.folder / "my_pictures" / split / part
            assert len(os.listdir(folder)) == count


def test_it_has_learned(session: Session) -> None:
    assert session.ask("before.mean_iou") < 0.1
    assert session.ask("after.mean_iou") > 0.55
    assert session.ask("sum(after.iou > 0.3) >= 10") is True
    rows = session.ask("read_history('history.csv')")
    assert [row["step"] for row in rows] == [20 * k for k in range(1, 7)]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["val_mean_iou"] == session.ask("after.mean_iou")


def test_what_it_saves_is_what_it_trained(session: Session) -> None:
    again = session.ask("kp.evaluate(model, val).to_dict()")
    assert again["mean_iou"] == session.ask("after.mean_iou")
    assert list(again["iou"])[:2] == ["sky", "grass"]


def test_pets(session: Session, tmp_path) -> None:
    """With weights and pictures from this machine, smaller and shorter."""
    assert "Skipped: Oxford Pets, because" in session.again("pets-fit")
    session.do(mirror_of_voc(tmp_path))
    write_pets(tmp_path / "archives")
    session.do(ARCHIVES.format(folder=str(tmp_path / "archives")))
    smaller = {"(129, 40)": "(17, 2)", "range(3)": "range(1)"}
    said = session.again("pets-fit", smaller)
    assert "outline" in said and "mean IoU" in said
    assert session.ask("net.steps_taken") == 2
    assert session.ask("net.num_classes") == 3
