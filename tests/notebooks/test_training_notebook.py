"""Runs notebooks/02_train_your_own.ipynb, also with what it would fetch."""

import os
import tarfile
from io import BytesIO

import numpy as np
import pytest
from everyone import (  # noqa: F401
    test_it_runs_without_trouble,
    test_the_committed_outputs_are_its_own,
)
from execution import Session
from http_server import serving
from image_files import encoded
from published import mirror_of_voc

NOTEBOOK = "02_train_your_own"

PETS = "https://thor.robots.ox.ac.uk/~vgg/data/pets/"


def archives() -> dict[str, bytes]:
    """The two archives of Oxford Pets, of four pictures."""
    names = {"trainval": ("Bombay_1", "pug_2", "pug_10"), "test": ("pug_3",)}
    members: dict[str, dict[str, bytes]] = {"images": {}, "annotations": {}}
    for split, chosen in names.items():
        for name in chosen:
            mask = np.resize(np.arange(1, 4, dtype=np.uint8), (24, 31))
            members["images"][f"{name}.jpg"] = encoded(mask * 80, "JPEG")
            members["annotations"][f"trimaps/{name}.png"] = encoded(mask, "PNG")
        lines = "".join(f"{name} 1 2 1\n" for name in chosen)
        members["annotations"][f"{split}.txt"] = lines.encode()
    return {
        f"/{part}.tar.gz": tar_gz(part, files)
        for part, files in members.items()
    }


def tar_gz(part: str, files: dict[str, bytes]) -> bytes:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{part}/{name}")
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
    return stream.getvalue()


def test_the_folder_is_one_s_own(session: Session) -> None:
    for split, count in (("train", 240), ("val", 40)):
        for part in ("images", "masks"):
            folder = session.folder / "my_images" / split / part
            assert len(os.listdir(folder)) == count


def test_it_has_learned(session: Session) -> None:
    assert session.ask("before.mean_iou") < 0.1
    assert session.ask("after.mean_iou") > 0.55
    assert session.ask("int((after.iou > 0.3).sum())") >= 9
    rows = session.ask("read_history('history.csv')")
    assert [row["step"] for row in rows] == [20 * k for k in range(1, 7)]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    after = session.ask("after.mean_iou")
    assert rows[-1]["val_mean_iou"] == pytest.approx(after)


def test_what_it_saves_is_what_it_trained(session: Session) -> None:
    again = session.ask("kp.evaluate(model, val).to_dict()")
    assert again["mean_iou"] == session.ask("after.mean_iou")
    assert list(again["iou"])[:2] == ["sky", "grass"]


def test_pets(session: Session, tmp_path) -> None:
    """With weights and pictures from this machine, smaller and shorter."""
    assert "Skipped: Oxford Pets, which" in session.again("pets-fit")
    session.do(mirror_of_voc(tmp_path))
    with serving() as server:
        smaller = {"(129, 40)": "(17, 2)", PETS: server.url("/")}
        # The weights alone are not enough.
        said = session.again("pets-fit", smaller)
        assert said.startswith("Skipped: Oxford Pets, which")
        assert "404" in said
        server.files = archives()
        said = session.again("pets-fit", smaller)
    assert "outline" in said and "mean IoU" in said
    assert len(session.shown) == 1
    assert session.ask("[len(pets), len(test)]") == [3, 1]
    assert session.ask("[net.global_step, net.num_classes]") == [2, 3]
