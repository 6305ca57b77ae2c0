"""Runs notebooks/01_segment.ipynb, also with what it would fetch."""

from everyone import (  # noqa: F401
    test_it_runs_without_trouble,
    test_the_committed_outputs_are_its_own,
)
from execution import Session
from http_server import serving
from image_files import encoded
from PIL import Image
from published import mirror_of_voc
from support import picture

NOTEBOOK = "01_segment"

PHOTO = "https://storage.googleapis.com/download.tensorflow.org/example_images/"


def test_what_it_finds(session: Session) -> None:
    scores = session.ask("kp.evaluate(model, [(town, mask)]).to_dict()")
    assert scores["mean_iou"] > 0.7
    assert min(scores["iou"].values()) > 0.4
    assert session.ask("list(result.mask.shape)") == [384, 512]
    with Image.open(session.folder / "out.png") as sheet:
        assert sheet.width == 512
    with Image.open(session.folder / "mask.png") as mask:
        assert mask.mode == "P"


def test_one_s_own_picture(session: Session) -> None:
    assert "there is no file 'photo.jpg'" in session.again("own-picture")
    Image.fromarray(picture(60, 80)).save(session.folder / "photo.jpg")
    assert session.again("own-picture") == ""
    assert "image/png" in session.shown[0].data


def test_what_it_fetches(session: Session, tmp_path) -> None:
    """With a photograph, and with weights, from this machine."""
    assert "Skipped" in session.again("voc-picture")
    with serving() as server:
        server.files["/YellowLabradorLooking_new.jpg"] = encoded(
            picture(60, 80), "JPEG"
        )
        place = {PHOTO: server.url("/")}
        # The photograph alone is not enough.
        said = session.again("voc-picture", place)
        assert said.startswith("Skipped: the published model, which")
        assert "openmmlab" in said
        session.do(mirror_of_voc(tmp_path))
        assert session.again("voc-picture", place) == ""
        assert len(session.shown) == 1
    assert session.ask("voc.num_classes") == 21
    assert session.ask("voc.labels.names[12]") == "dog"
