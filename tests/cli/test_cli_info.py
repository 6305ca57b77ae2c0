"""Tests of `keras-pspnet info`."""

from keras_pspnet.cli.main import main
from keras_pspnet.presets import PRESETS


def test_info_lists_every_model_with_score_and_source(capsys) -> None:
    assert main(["info"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for row in PRESETS:
        line = next(
            each
            for each in out.splitlines()
            if each.split()[:2] == [row.name, row.backbone]
        )
        assert line.split()[2:4] == [str(row.megabytes), f"{row.mean_iou:.4f}"]
        assert line.endswith(row.data)
        assert row.protocol in out
        assert row.license in out
        assert row.url in out
    assert max(map(len, out.splitlines()[: len(PRESETS) + 1])) <= 90
