"""Tests of keras_pspnet.data.find_images: what paths stand for."""

import os
from pathlib import Path

import pytest

from keras_pspnet.data import find_images, read_image


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Folders of empty files, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/2024/may", "photos/.trash", "photos/c.jpg", "none"):
        Path(folder).mkdir(parents=True)
    touch(Path("photos"), "b.JPG", "a.webp", "notes.txt", "._b.jpg", "d.gif")
    touch(Path("photos/2024"), "b.tif", "a.png")
    touch(Path("photos/2024/may"), "a.bmp")
    touch(Path("photos/.trash"), "a.png")
    touch(Path("none"), "notes.txt", ".a.jpg")
    touch(Path(), "x[1].png", "x1.png", "y.dat")


def listed(*paths):
    found = find_images(paths)
    assert all(isinstance(path, Path) for path in found)
    return [path.as_posix() for path in found]


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("y.dat", ["y.dat"]),
        ("photos/._b.jpg", ["photos/._b.jpg"]),
        ("photos", ["photos/a.webp", "photos/b.JPG"]),
        ("photos/2024/", ["photos/2024/a.png", "photos/2024/b.tif"]),
        ("photos/*", ["photos/a.webp", "photos/b.JPG"]),
        ("photos/[a-c].*", ["photos/a.webp", "photos/b.JPG"]),
        ("p*/*/a.???", ["photos/2024/a.png"]),
        (
            "photos/**",
            [
                *("photos/2024/a.png", "photos/2024/b.tif"),
                *("photos/2024/may/a.bmp", "photos/a.webp", "photos/b.JPG"),
            ],
        ),
        ("**/a.[bp]*", ["photos/2024/a.png", "photos/2024/may/a.bmp"]),
        # A file of this name, and nothing that the pattern matches.
        ("x[1].png", ["x[1].png"]),
        ("x[12].png", ["x1.png"]),
    ],
)
def test_find_pictures(photos, path, want):
    assert listed(path) == want
    assert listed(Path(path)) == want
    assert listed(os.path.abspath(path)) == [
        Path(file).absolute().as_posix() for file in want
    ]


def test_found_pictures_keep_their_order_and_come_once(photos):
    assert listed("x1.png", "photos/*.JPG", "photos", "./x1.png", "y.dat") == [
        "x1.png",
        "photos/b.JPG",
        "photos/a.webp",
        "y.dat",
    ]


def test_links_that_lead_nowhere_are_not_passed_over(photos):
    Path("none/b.png").symlink_to("nowhere.png")
    assert listed("none") == ["none/b.png"]
    with pytest.raises(FileNotFoundError, match="Received: image='none/b.png"):
        read_image("none/b.png")


def test_paths_without_pictures_refused(photos):
    with pytest.raises(
        FileNotFoundError,
        match="`paths` must be files, folders or patterns of files that exist. "
        "Received: paths='no.png'",
    ):
        find_images(["x1.png", "no.png"])
    for path, count in (("none/*", 1), ("*.webp", 0)):
        with pytest.raises(
            FileNotFoundError, match="`paths` must be patterns that match imag"
        ) as caught:
            find_images([path])
        assert str(caught.value).endswith(
            f". Received: paths={path!r}, which matches {count} files, none "
            "of them an image"
        )
    with pytest.raises(
        ValueError,
        match=r"`paths` must be images, or folders that hold some \(\.jpg, "
        r".*\)\. Received: paths='none' without an image",
    ):
        find_images(["photos", Path("none")])
