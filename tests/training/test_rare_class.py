"""Tests of the comparison of losses for a rare class, shortened."""

import pytest

from keras_pspnet import Scores
from keras_pspnet.backbones import BLOCKS
from keras_pspnet.labels import SCENES
from training import rare_class

pytestmark = pytest.mark.long


def test_boats_are_as_rare_as_said() -> None:
    images, masks = rare_class.training_scenes(seed=0)
    assert images.shape == (rare_class.TRAIN, *rare_class.SIZE, 3)
    share = (masks == rare_class.RARE).mean()
    assert 0.002 < share <= rare_class.SHARE
    assert SCENES.names[rare_class.RARE] == "boat"


@pytest.mark.slow
def test_runs_are_kept_and_tabulated(tmp_path, monkeypatch, capsys) -> None:
    names = ("cross-entropy", "OHEM")
    for name, value in {
        "LOSSES": {name: rare_class.LOSSES[name] for name in names},
        "SEEDS": (0,),
        "DRAWN": 40,
        "TRAIN": 16,
        "VAL": 4,
        "EPOCHS": 1,
    }.items():
        monkeypatch.setattr(rare_class, name, value)
    monkeypatch.setattr("sys.argv", ["rare_class", "--output", str(tmp_path)])
    monkeypatch.setitem(BLOCKS, 18, (1, 1, 1, 1))
    assert rare_class.main() == 0
    assert Scores.load(tmp_path / "1-0.json").images == 4
    table = (tmp_path / "rare_class.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == [
        f"| {name}" for name in names
    ]
    assert table[0].count("|") == table[2].count("|")
    # A second call trains nothing.
    monkeypatch.setattr(rare_class, "run", None)
    assert rare_class.main() == 0
    assert (tmp_path / "rare_class.md").read_text().splitlines() == table
    assert "seed 0, OHEM" in capsys.readouterr().out
