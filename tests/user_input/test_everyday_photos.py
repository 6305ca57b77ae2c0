"""What a new user tries first: a photo of their own, with no model chosen."""

import numpy as np
import pytest
from command_line import replace_loading, write_images

import keras_pspnet as kp
from keras_pspnet.cli.main import main
from keras_pspnet.labels import generic_labels

pytestmark = pytest.mark.user_input


def use_logits(monkeypatch, height: float) -> None:
    """Puts a model in the place of all whose logits are that high."""

    def network(images):
        logits = np.zeros((*images.shape[:3], 5), "float32")
        logits[..., 0] = height
        return logits

    predictor = kp.Predictor(network, generic_labels(5))
    replace_loading(monkeypatch, lambda *_, **__: predictor)


@pytest.mark.parametrize(("height", "unsure"), [(0.5, True), (5.0, False)])
@pytest.mark.parametrize("model", [None, "aerial"])
def test_the_command_says_what_the_default_model_knows(
    tmp_path, monkeypatch, capsys, height, unsure, model
):
    use_logits(monkeypatch, height)
    monkeypatch.chdir(tmp_path)
    write_images("photo.png")
    chosen = [] if model is None else ["--model", model]
    assert main(["segment", "photo.png", "-o", "out.png", *chosen]) == 0
    err = capsys.readouterr().err.splitlines()
    if model is not None:
        assert err == []
        return
    assert "images from above" in err[0] and "--model voc" in err[0]
    assert len(err) == 1 + unsure
    if unsure:
        assert err[1].startswith("keras-pspnet: note: out.png: ")
        assert "unsure nearly everywhere" in err[1]
