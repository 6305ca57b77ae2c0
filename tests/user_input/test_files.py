"""What users hand in as files: masks, label files, photographs."""

import numpy as np
import pytest
from data_trees import row, write_own, write_text
from PIL import Image
from user_input import Case, each, run

import keras_pspnet as kp
from keras_pspnet.data import check, load
from keras_pspnet.labels import generic_labels

pytestmark = pytest.mark.user_input

SIZE = (9, 9)
COLORS = ((0, 0, 0), (255, 0, 0), (0, 255, 0))


@pytest.fixture
def folder(tmp_path):
    write_own(tmp_path, a=row(0, 1), b=row(1, 0))
    write_text(tmp_path / "labels.txt", "sky\nroad\n")
    return tmp_path


def recolored(folder, palette, pixels):
    """A palette file whose indices are of another order of colors."""
    mask = Image.fromarray(np.array(pixels, "uint8"))
    mask.putpalette(np.array(palette, "uint8").tobytes())
    Image.new("RGB", mask.size).save(folder / "images/p.png")
    mask.save(folder / "masks/p.png")


def masks_of(folder, *masks):
    for path in [*(folder / "images").iterdir(), *(folder / "masks").iterdir()]:
        path.unlink()
    write_own(folder, **{f"m{k}": mask for k, mask in enumerate(masks)})


def predictor():
    def network(images):
        return np.zeros((*images.shape[:3], 2), "float32")

    return kp.Predictor(network, generic_labels(2))


def checked(folder):
    return [str(issue) for issue in check(load(folder, strict=False))]


# === Masks of two classes ===


def test_masks_of_0_and_255_are_refused_by_every_reader(folder):
    masks_of(folder, row(0, 255), row(255, 0, 0))
    (issue,) = [each for each in check(load(folder)) if not each.is_warning]
    assert "two classes must be 0 and 1" in issue.text
    assert "2 of 2 masks that hold 0 and 255" in issue.text
    assert "the lines 'sky 0' and 'road 255' into labels.txt" in issue.text
    for reader in (
        lambda: load(folder).check_pairs(),
        lambda: kp.evaluate(predictor(), load(folder)),
        lambda: kp.callbacks.ValidationScores(load(folder)),
    ):
        with pytest.raises(ValueError, match="two classes must be 0 and 1"):
            reader()


def test_one_good_mask_does_not_silence_the_warning(folder):
    masks_of(folder, row(0, 1), row(0, 255), row(255, 0))
    issues = check(load(folder))
    assert [each.is_warning for each in issues] == [True]
    assert "2 of 3 masks" in issues[0].text
    with pytest.warns(kp.DataWarning, match="2 of 3 masks"):
        kp.evaluate(predictor(), load(folder))


def test_ignored_borders_are_no_reason_to_warn(folder):
    masks_of(folder, row(0, 1, 255), row(255, 0))
    assert not check(load(folder))


# === Palettes ===


def write_recolored(folder, palette, pixels):
    lines = [
        f"{name} {' '.join(map(str, color))}\n"
        for name, color in zip("abc", COLORS, strict=True)
    ]
    write_text(folder / "labels.txt", "".join(lines))
    masks_of(folder)
    recolored(folder, palette, pixels)


@pytest.mark.parametrize(
    ("palette", "want"),
    [
        (COLORS, [0, 1, 2]),
        # All colors are listed: they count.
        (COLORS[::-1], [2, 1, 0]),
        ((COLORS[1], COLORS[0], (7, 7, 7)), None),
        # Colors that labels.txt does not list are for looks alone.
        (((9, 9, 9), (8, 8, 8), (7, 7, 7)), [0, 1, 2]),
        ((COLORS[0], COLORS[2], (7, 7, 7)), [0, 1, 2]),
        # A class that is not in the file may be anywhere.
        ((COLORS[0], COLORS[1], COLORS[1]), [0, 1]),
    ],
)
def test_palettes_in_another_order(folder, palette, want):
    pixels = np.array([[0, 1], [2, 0]])
    if want is None or len(want) == 2:
        pixels = np.array([[0, 1], [1, 0]])
    write_recolored(folder, palette, pixels)
    if want is not None:
        got = load(folder)[0][1]
        np.testing.assert_array_equal(got, np.array(want)[pixels])
        return
    with pytest.raises(
        ValueError,
        match=r"palette in the order of .*labels\.txt.*index 0 with "
        r"\[255, 0, 0\]"
        ", the color of class 1",
    ):
        load(folder)[0]
    (issue,) = (each for each in checked(folder) if "palette" in each)
    assert "saved as RGB" in issue


# === Photographs ===


@pytest.mark.parametrize(
    ("orientation", "size", "seen"),
    [(1, SIZE, False), (3, (9, 6), True), (2, (9, 6), True), (6, SIZE, True)],
)
def test_orientation_that_the_size_does_not_show(
    tmp_path, orientation, size, seen
):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(tmp_path / "images/a.jpg", exif=exif)
    Image.fromarray(np.eye(*size[::-1], dtype="uint8")).save(
        tmp_path / "masks/a.png"
    )
    write_text(tmp_path / "labels.txt", "sky\nroad\n")
    found = check(load(tmp_path))
    assert bool(found) == seen
    assert all(each.is_warning and "(EXIF)" in str(each) for each in found)


# === Folders, files and values as people have them ===


def renamed(folder, image, mask):
    """Moves the pairs a and b to other names, which hold {}."""
    for kind, pattern in (("images", image), ("masks", mask)):
        for path in list((folder / kind).iterdir()):
            target = folder / pattern.format(path.stem)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target != path:
                with Image.open(path) as opened:
                    opened.save(target)
                path.unlink()
        (folder / kind / ".keep").write_bytes(b"")


@each(
    [
        Case(what, "data.load", lambda: None, error=error, value=names)  # type: ignore[arg-type]
        for what, names, error in [
            ("suffix", ("images/{}.jpg", "masks/{}_mask.png"), None),
            ("CamVid's _L", ("images/{}.png", "masks/{}_L.png"), None),
            ("-labels", ("images/{}.png", "masks/{}-labels.bmp"), None),
            ("prefix", ("images/{}.png", "masks/gt_{}.tif"), None),
            ("Carvana's .gif", ("images/{}.jpg", "masks/{}_mask.gif"), None),
            ("capitals", ("images/{}.JPG", "masks/{}.PNG"), None),
            ("folders inside", ("images/x/{}.png", "masks/x/{}.png"), None),
            ("other folders", ("images/x/{}.png", "masks/y/{}.png"), "no mask"),
            ("one folder", ("{}.jpg", "{}_mask.png"), None),
            ("JPEG masks", ("images/{}.png", "masks/{}.jpg"), "lossy files"),
        ]
    ]
)
def test_names_of_files(case, folder):
    renamed(folder, *case.value)
    if case.value[0] == "{}.jpg":
        for kind in ("images", "masks"):
            (folder / kind / ".keep").unlink()
            (folder / kind).rmdir()

    def right(data):
        for (_, mask), want in zip(data, (row(0, 1), row(1, 0)), strict=True):
            np.testing.assert_array_equal(mask, want)

    run(
        Case(
            case.what, case.entry, lambda: load(folder), case.error, value=right
        )
    )


# === labels.txt ===


LABELS = [
    ("labelme's", "__ignore__\n_background_\ncat\n", ("_background_", "cat")),
    ("names alone", "2 wheeler\ncar\n", ("2 wheeler", "car")),
    ("numbered", "0 sky\n1 road\n", "without numbers before them"),
    ("numbered from 1", "1: sky\n2: road\n", "without numbers before them"),
    (
        "CVAT's labelmap",
        "# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:1,2,3::\n",
        "not be CVAT's labelmap",
    ),
    (
        "comma-separated",
        "name,r,g,b\nsky,0,0,0\nroad,1,2,3\n",
        "not be a table of comma-separated",
    ),
    ("values", "sky 0\nroad 255\n", ("sky", "road")),
    ("values of some", "sky 0\nignore 255\nroad\n", "each its own value"),
    ("names and values", "sky,0\nroad,255\n", "table of comma-separated"),
    ("JSON", '["sky",\n"road"]\n', "not be JSON or YAML"),
    ("YAML", "names:\n  0: sky\n", "JSON or YAML|without numbers"),
]


@each(
    [
        Case(
            f"label file: {what}",
            "data.load",
            lambda: None,
            error=outcome if isinstance(outcome, str) else None,
            value=(text, outcome),  # type: ignore[arg-type]
        )
        for what, text, outcome in LABELS
    ]
)
def test_label_files(case, folder):
    text, outcome = case.value
    write_text(folder / "labels.txt", text)

    def call():
        return load(folder, strict=False).labels.names

    def right(names):
        assert names == outcome

    run(Case(case.what, case.entry, call, case.error, value=right))
