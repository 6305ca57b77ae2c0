"""Tests of visualization.plots: what is drawn, and where."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb

from keras_pspnet.evaluation import Scores
from keras_pspnet.labels import ADE20K, AERIAL, VOC, LabelSet, generic_labels
from keras_pspnet.visualization import plots
from keras_pspnet.visualization.plots import (
    confusion_plot,
    training_curves,
)


def row(step, **values):
    return {"epoch": step, "step": step, **values}


@pytest.fixture
def figures(monkeypatch):
    """Has the functions return their figures, to be looked into."""
    monkeypatch.setattr(plots, "to_image", lambda figure, box=None: figure)


def curves_of(figure):
    """Title -> label of a curve -> its points."""
    return {
        axes.get_title("left"): {
            line.get_label(): line.get_xydata().tolist() for line in axes.lines
        }
        for axes in figure.axes
    }


def test_curves_go_through_their_points(figures):
    rows = [
        row(
            step,
            loss=3.0 / step,
            main_loss=2.0 / step,
            aux_loss=2.5 / step,
            main_mean_iou=0.1 * step,
            learning_rate=0.1,
        )
        for step in (1, 2, 4)
    ]
    rows[1]["val_mean_iou"] = 0.15
    rows[2]["aux_loss"] = float("nan")
    figure = training_curves(rows)
    assert curves_of(figure) == {
        "loss": {
            "weighted sum": [[1, 3], [2, 1.5], [4, 0.75]],
            "main": [[1, 2], [2, 1], [4, 0.5]],
            "auxiliary": [[1, 2.5], [2, 1.25]],
        },
        "mean IoU": {
            "training crops": [[1, 0.1], [2, 0.2], [4, 0.4]],
            "validation": [[2, 0.15]],
        },
        "learning rate": {"learning rate": [[1, 0.1], [2, 0.1], [4, 0.1]]},
    }
    # Both axes start at 0, and a single point is seen.
    for axes in figure.axes:
        assert axes.get_xlim()[0] == axes.get_ylim()[0] == 0
        assert axes.get_xlim()[1] >= 4
        assert {line.get_marker() for line in axes.lines} == {"o"}
    legends = [axes.get_legend() is not None for axes in figure.axes]
    assert legends == [True, True, False]


def test_one_output_has_one_loss(figures):
    found = curves_of(training_curves([row(1, loss=2.0, mean_iou=0.5)]))
    assert found == {
        "loss": {"weighted sum": [[1, 2]]},
        "mean IoU": {"training crops": [[1, 0.5]]},
    }


@pytest.mark.parametrize("value", [0.0, -2.0, 1e-9, 1e9])
def test_values_of_any_size(value):
    image = training_curves([row(step, loss=value) for step in range(1, 400)])
    assert (image.mode, image.width) == ("RGB", 960)
    blue = np.rint(255 * np.array(to_rgb(plots.COLORS[0])))
    assert (np.asarray(image) == blue).all(-1).sum() > 300


def test_curves_without_any_value():
    assert training_curves([row(1)]).width == 960


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="`rows` must hold at least one row"):
        training_curves([])


def texts_in(axes):
    """(row, column) -> text of the cells with a text."""
    return {
        (text.get_position()[1], text.get_position()[0]): text.get_text()
        for text in axes.texts
    }


@pytest.mark.parametrize("labels", [VOC, ADE20K])
def test_cells_show_the_shares_of_their_row(figures, labels):
    counts = np.zeros((labels.num_classes,) * 2, "int64")
    counts[0, 0] = 12
    counts[1, [1, 2]] = 3, 1
    counts[2, [0, 2]] = 1, 9999
    counts[3, 4] = 10**12
    (axes,) = confusion_plot(counts, labels, "$title").axes
    (image,) = axes.images
    shares = image.get_array()
    # Row 4, like all others without pixels, is empty: of the gray behind.
    assert np.ma.getmaskarray(shares)[4:].all()
    np.testing.assert_array_equal(shares[1, :4], [0, 0.75, 0.25, 0])
    assert (shares[0, 0], shares[2, 2], shares[2, 0]) == (1, 0.9999, 0.0001)
    assert (shares[3, 3], shares[3, 4]) == (0, 1)
    # A quarter has half of the color, and one in 10,000 is seen.
    shown = image.norm([0, 0.0001, 0.25, 1])
    np.testing.assert_allclose(shown, [0, 0.01, 0.5, 1])
    texts = {
        (0, 0): "100.0",
        (1, 1): "75.0",
        (1, 2): "25.0",
        (2, 2): "100.0",
        (3, 4): "100.0",
    }
    # Cells of many classes have no room.
    assert texts_in(axes) == ({} if labels is ADE20K else texts)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        names = [text.get_text() for text in ticks[: len(counts)]]
        assert names == list(labels.names)


@pytest.mark.parametrize(
    "count", [1, 5, 41, pytest.param(255, marks=pytest.mark.slow)]
)
def test_the_image_has_room_for_the_matrix_and_the_names(count):
    names = [f"{'long name ' * 30}{index}" for index in range(count)]
    colors = generic_labels(count).colors
    labels = LabelSet("long", tuple(names), colors)
    # As many percentages as a matrix of this size can have.
    counts = 9 * np.eye(count, dtype=int) + (count < 150)
    image = confusion_plot(counts, labels, "title")
    assert image.mode == "RGB"
    cell = min(max(round(1000 / count), 16), 72)
    assert count * cell + 100 < image.width < count * cell + 800
    assert count * cell + 100 < image.height < count * cell + 800
    pixels = np.asarray(image)
    # Nothing runs out of the image.
    for border in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (border == 255).all()


@pytest.mark.parametrize("name", ["$a^$", "$\\frac$", "_b", "汽车"])
def test_names_are_drawn_as_they_are(name):
    labels = LabelSet("two", (name, "b"), ((0, 0, 0), (9, 9, 9)))
    confusion_plot(np.eye(2, dtype=int), labels)


def test_scores_title_their_plot(figures):
    counts = np.array([[3, 1], [0, 4]])
    (axes,) = Scores(counts, generic_labels(2), images=2).confusion_plot().axes
    title = axes.get_title("left")
    assert "mean IoU 0.7750, pixel accuracy 0.8750" in title
    assert "2 images, 8 pixels" in title


def test_users_figures_and_settings_stay():
    before = dict(matplotlib.rcParams)
    training_curves([row(1, loss=1.0)])
    confusion_plot(np.eye(5, dtype=int), AERIAL)
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []
