"""Tests of uploading models, against a Hub on this machine."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from command_line import refusal
from loopback_hub import TOKEN, Hub, Repository, hub_running
from support import tiny_pspnet

import keras_pspnet as kp
from keras_pspnet.cli.main import main
from keras_pspnet.pretrained import push_pretrained

# How the library uploads large files, which its HTTP library advises against.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=:DeprecationWarning"
)

FILES = ["README.md", "config.json", "model.safetensors"]
ROOT = Path(__file__).parents[2]
LABELS = kp.LabelSet("pets", ("cat", "dog"), ((9, 9, 9), (0, 0, 0)))
SCORES = kp.Scores(
    np.array([[3, 1], [0, 4]]), LABELS, protocol={"name": "mmseg"}, images=2
)


@pytest.fixture(scope="module")
def model() -> kp.PSPNet:
    keras.utils.set_random_seed(0)
    return tiny_pspnet(2, labels=LABELS, name="pets", bin_sizes=(1, 2))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "pets"
    kp.save_pretrained(model, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(saved, tmp_path / "pets"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch) -> Iterator[Hub]:
    """The Hub, for a user who is logged in."""
    from huggingface_hub import constants

    with hub_running() as server:
        # What the variables of these names set when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            server.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        # Its own servers for large files.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("no_proxy", "*")
        # Between tries of the library.
        monkeypatch.setattr(
            "huggingface_hub.utils._http.time.sleep", lambda _: None
        )
        yield server


def front_matter(card: bytes) -> dict:
    return yaml.safe_load(card.decode().split("---\n")[1])


def assert_same(found: kp.PSPNet, expected: kp.PSPNet) -> None:
    # The auxiliary head is left out unless it is asked for.
    weights = {weight.path: weight for weight in expected.weights}
    assert found.weights
    for weight in found.weights:
        np.testing.assert_array_equal(weight, weights[weight.path])


# === What arrives ===


def test_a_pushed_folder_is_loaded_again(model, folder, hub: Hub) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    push = push_pretrained(
        folder,
        "hf://me/pets",
        license="CC-BY-4.0",
        datasets=["oxford-pets"],
        recipe="pets_resnet18",
        scores=SCORES,
    )
    assert push.url == f"{hub.url}/me/pets"
    there = hub.repositories["me/pets"]
    assert sorted(there.files) == FILES
    assert there.commits == 1
    assert not there.private
    assert push.sizes == {name: len(each) for name, each in there.files.items()}
    # The folder stays as it is.
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == before
    found = kp.load_pretrained("hf://me/pets")
    assert found.labels == LABELS
    assert_same(found, model)
    assert_same(kp.PSPNet.from_preset("hf://me/pets"), model)

    card = there.files["README.md"]
    front = front_matter(card)
    (index,) = front.pop("model-index")
    assert front == {
        "license": "cc-by-4.0",
        "library_name": "keras",
        "pipeline_tag": "image-segmentation",
        "tags": [
            "keras-pspnet",
            "pspnet",
            "semantic-segmentation",
            "image-segmentation",
        ],
        "datasets": ["oxford-pets"],
    }
    assert index["name"] == "pets"
    (result,) = index["results"]
    assert result["task"]["type"] == "image-segmentation"
    assert result["dataset"] == {"name": "oxford-pets", "type": "oxford-pets"}
    values = {each["type"]: each["value"] for each in result["metrics"]}
    assert values == {
        name: SCORES.to_dict()[name]
        for name in ("mean_iou", "mean_f1", "mean_accuracy", "pixel_accuracy")
    }
    text = card.decode()
    assert 'kp.load_pretrained("hf://me/pets")' in text
    assert r"- Recipe: pets\_resnet18 (keras_pspnet)" in text
    assert "| mean IoU | 0.7750 |" in text
    assert "| images | 2 |\n| protocol | mmseg |" in text
    assert "License of the weights:" not in text.split("cannot tell")[1]


def test_the_library_itself_reads_the_card(folder, hub: Hub) -> None:
    import huggingface_hub

    push_pretrained(folder, "hf://me/pets", license="mit", scores=SCORES)
    text = hub.repositories["me/pets"].files["README.md"].decode()
    data = huggingface_hub.ModelCard(text).data
    assert data.license == "mit"
    (first, *_) = data.eval_results
    assert first.metric_type == "mean_iou"
    assert first.metric_value == SCORES.mean_iou
    assert first.dataset_type == "unknown"


def test_a_model_is_saved_at_the_hub(model, hub: Hub, tmp_path) -> None:
    kp.save_pretrained(
        model, "hf://me/pets", "float16", license="mit", private=True
    )
    there = hub.repositories["me/pets"]
    assert there.private
    assert sorted(there.files) == FILES
    assert b"float16" in there.files["README.md"]
    assert b'load_pretrained("hf://me/pets")' in there.files["README.md"]
    assert kp.load_pretrained("hf://me/pets").labels == LABELS
    model.save_to_preset("hf://me/others", license="mit")
    assert not hub.repositories["me/others"].private
    # What was loaded from there is a folder like any other.
    for name, content in there.files.items():
        (tmp_path / name).write_bytes(content)
    again = push_pretrained(tmp_path, "hf://me/again")
    assert again.license == "mit"
    assert not again.card_is_kept


def test_what_a_folder_was_saved_with_is_kept(model, hub, tmp_path) -> None:
    kp.save_pretrained(
        model,
        tmp_path,
        license="mit",
        datasets=("a", "b"),
        recipe="scenes",
        scores=SCORES.to_dict(),
    )
    push_pretrained(tmp_path, "hf://me/pets", license="cc0-1.0")
    card = hub.repositories["me/pets"].files["README.md"]
    front = front_matter(card)
    assert front["license"] == "cc0-1.0"
    assert front["datasets"] == ["a", "b"]
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["name"] == "unknown"
    assert b"- Recipe: scenes (keras_pspnet)\n- Data: a, b\n" in card


def test_scores_of_a_run_are_in_the_card(folder) -> None:
    path = folder / "scores.json"
    content = {"step": 7, "recipe": "scenes", **SCORES.to_dict()}
    path.write_text(json.dumps(content))
    push = push_pretrained(folder, "hf://a/b", license="mit", dry_run=True)
    assert push.scores == {
        "mean_iou": SCORES.mean_iou,
        "mean_f1": SCORES.mean_f1,
        "mean_accuracy": SCORES.mean_accuracy,
        "pixel_accuracy": SCORES.pixel_accuracy,
        "images": 2,
        "protocol": "mmseg",
    }
    for text in ("{", "[]", '{"mean_iou": 7}', '{"mean_iou": "high"}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"hold no scores\.json, or one"):
            push_pretrained(folder, "hf://a/b", license="mit", dry_run=True)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("my\n# run's", "- Recipe: my # run's (keras_pspnet)"),
        ("a|<b>`c`", r"- Recipe: a\|\<b\>\`c\` (keras_pspnet)"),
        # As a folder is named whose name is not UTF-8.
        ("caf\udce9", "- Recipe: caf? (keras_pspnet)"),
    ],
)
def test_a_run_may_have_any_name(model, tmp_path, name: str, line: str) -> None:
    kp.save_pretrained(model, tmp_path, recipe=name)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert line in card.splitlines()
    kp.save_pretrained(model, tmp_path, recipe=" ")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "- The recipe, or the checkpoint" in card


def test_scores_without_a_value_are_left_out(folder) -> None:
    nothing = kp.Scores(np.zeros((2, 2), int), LABELS)
    push = push_pretrained(
        folder, "hf://a/b", license="mit", scores=nothing, dry_run=True
    )
    assert push.scores is None


# === What is there already ===


def test_an_existing_repository_is_kept(folder, hub: Hub) -> None:
    mine = Repository(files={"mine": b"1", "config.json": b"{}"})
    hub.repositories["me/pets"] = mine
    with pytest.raises(FileExistsError, match="not exist .* unless `overwrit"):
        push_pretrained(folder, "hf://me/pets", license="mit")
    assert mine.files == {"mine": b"1", "config.json": b"{}"}
    assert hub.asked == ["create"]
    push_pretrained(folder, "hf://me/pets", license="mit", overwrite=True)
    assert sorted(mine.files) == sorted([*FILES, "mine"])
    assert mine.commits == 1
    # It need not be there.
    push_pretrained(folder, "hf://me/new", license="mit", overwrite=True)
    assert sorted(hub.repositories["me/new"].files) == FILES


def test_a_public_repository_does_not_pass_for_a_private_one(
    folder, hub: Hub
) -> None:
    hub.repositories["me/pets"] = mine = Repository()
    given = {"license": "mit", "private": True, "overwrite": True}
    with pytest.raises(ValueError, match="`private` must be left out for a pu"):
        push_pretrained(folder, "hf://me/pets", **given)
    assert mine.files == {}
    mine.private = True
    push_pretrained(folder, "hf://me/pets", **given)
    assert sorted(mine.files) == FILES


# === The card, and its license ===


def test_a_license_is_needed(model, folder, hub: Hub) -> None:
    match = r"`license` must be given.*Received: license=None, \w+='hf://me/pe"
    with pytest.raises(ValueError, match=match):
        push_pretrained(folder, "hf://me/pets")
    with pytest.raises(ValueError, match=match):
        kp.save_pretrained(model, "hf://me/pets")
    for license in ("a b", "", 3, "mit\nlicense: other"):
        with pytest.raises(ValueError, match="`license` must be one of the Hu"):
            push_pretrained(folder, "hf://me/pets", license=license)
    assert hub.asked == []


def test_a_card_that_somebody_changed_goes_up_as_it_is(
    folder, hub: Hub
) -> None:
    card = folder / "README.md"
    own = "---\r\nlicense: cc0-1.0\r\n---\r\n# Mine\r\n"
    card.write_text(own, newline="")
    config = (folder / "config.json").read_bytes()
    push = push_pretrained(folder, "hf://me/pets")
    assert (push.license, push.card_is_kept) == ("cc0-1.0", True)
    there = hub.repositories["me/pets"].files
    assert there["README.md"] == own.encode()
    assert there["config.json"] == config
    push_pretrained(folder, "hf://me/twice", license="CC0-1.0")
    for given in (
        {"license": "mit"},
        {"datasets": ["a"]},
        {"recipe": "a"},
        {"scores": SCORES},
    ):
        (name,) = given
        match = f"`{name}` must be left out if the model card was edited"
        with pytest.raises(ValueError, match=match):
            push_pretrained(folder, "hf://me/more", **given)
    for text in ("# Mine", "---\ntags: [a]\n---\n", "---\nlicense:\n---\n"):
        card.write_text(text)
        match = (
            "card that names the license .* add a line such as 'license: mit'"
        )
        with pytest.raises(ValueError, match=match):
            push_pretrained(folder, "hf://me/more", license="mit")
    for text in ("---\n- a\n---\n", "---\n{\n---\n"):
        card.write_text(text)
        with pytest.raises(ValueError, match="card must begin with YAML"):
            push_pretrained(folder, "hf://me/more", license="mit")
    card.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="card that names the license"):
        push_pretrained(folder, "hf://me/more", license="mit")
    assert sorted(hub.repositories) == ["me/pets", "me/twice"]


def test_a_card_that_was_deleted_is_written_anew(folder, hub: Hub) -> None:
    (folder / "README.md").unlink()
    push_pretrained(folder, "hf://me/pets", license="mit")
    assert b"# pets\n" in hub.repositories["me/pets"].files["README.md"]
    assert not (folder / "README.md").exists()


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"datasets": "a"}, TypeError, "`datasets` must be a sequence of"),
        ({"datasets": ["`a`"]}, ValueError, "`datasets` must hold names of"),
        ({"recipe": 3}, ValueError, "`recipe` must be the name of a"),
        (
            {"scores": 3},
            ValueError,
            "`scores` must be Scores or the result of Scores",
        ),
        (
            {"scores": {}},
            ValueError,
            "`scores` must be Scores or the result of Scores",
        ),
    ],
)
def test_what_cannot_stand_in_a_card(folder, given, error, match) -> None:
    with pytest.raises(error, match=match):
        push_pretrained(folder, "hf://a/b", license="mit", **given)
    with pytest.raises(error, match=match):
        kp.save_pretrained(tiny_pspnet(), folder, **given)


def test_what_is_for_the_hub_alone(model, tmp_path) -> None:
    for name in ("private", "overwrite"):
        match = f"`{name}` must be left out unless `folder` is 'hf://owner/"
        with pytest.raises(ValueError, match=match):
            kp.save_pretrained(model, tmp_path / "new", **{name: True})
    assert not (tmp_path / "new").exists()


# === What is refused ===


@pytest.mark.parametrize(
    "name",
    [
        *("hf://pets", "hf://", "hf://a/b/c", "hf:///b", "hf://a/", "me/pets"),
        *(
            "hf://a/b c",
            "hf://a/..",
            "hf://a/b--c",
            "hf://a/b.git",
            "hf://a/-b",
        ),
        "hf://a/" + "b" * 96,
    ],
)
def test_a_name_that_is_none(model, folder, hub: Hub, name: str) -> None:
    if name != "me/pets":
        match = "`{}` must be 'hf://owner/name', of letters.*Received: {}="
        with pytest.raises(ValueError, match=match.format(*["folder"] * 2)):
            kp.save_pretrained(model, name, license="mit")
        with pytest.raises(ValueError, match=match.format(*["source"] * 2)):
            kp.load_pretrained(name)
    with pytest.raises(ValueError, match="`target` must be 'hf://owner/name'"):
        push_pretrained(folder, name, license="mit")
    assert hub.asked == []


def test_a_folder_that_is_no_model(folder, hub: Hub) -> None:
    def push(path: Path) -> None:
        push_pretrained(path, "hf://me/pets", license="mit")

    match = r"`folder` must hold the files config\.json and model\.safetensors"
    with pytest.raises(FileNotFoundError, match=match):
        push(folder / "nowhere")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=match):
        push(folder)
    weights.write_bytes(content[:-1] + b"\x77")
    with pytest.raises(ValueError, match="`folder` must hold the weights its"):
        push(folder)
    weights.write_bytes(content)
    config = folder / "config.json"
    written = json.loads(config.read_text())
    match = r"`folder` must hold a config\.json that save_pretrained wrote"
    (folder / "README.md").unlink()
    for changed in (
        [],
        written | {"model": {}},
        written | {"card": 3},
        written | {"card": {"license": "a b"}},
        written | {"card": {"scores": {}}},
    ):
        config.write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=match):
            push(folder)
    weights.write_bytes(b"no weights")
    digest = hashlib.sha256(b"no weights").hexdigest()
    config.write_text(json.dumps(written | {"weights_sha256": digest}))
    with pytest.raises(ValueError, match=match):
        push(folder)
    assert hub.asked == []


def test_without_the_library(model, folder, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    match = re.escape("pip install keras-pspnet[hub]")
    with pytest.raises(ImportError, match=match):
        push_pretrained(folder, "hf://me/pets", license="mit")
    with pytest.raises(ImportError, match=match):
        kp.load_pretrained("hf://me/pets")
    # What asks nobody needs nothing.
    push_pretrained(folder, "hf://me/pets", license="mit", dry_run=True)


def test_without_a_token(folder, hub: Hub, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PermissionError, match="hf auth login` or set HF_TOKEN"):
        push_pretrained(folder, "hf://me/pets", license="mit")
    assert hub.asked == []


STATUSES = {
    401: (PermissionError, r"requires a valid token \(401\)"),
    403: (
        PermissionError,
        r"have permission .* \(403, No quota for \[token\]\)",
    ),
    404: (FileNotFoundError, r"must exist on the Hub .* \(404\)"),
    409: (
        FileExistsError,
        r"must not (change during the upload|exist on the Hub yet)",
    ),
    413: (OSError, r"refused the request \(413, No quota for \[token\]\)"),
    429: (ConnectionError, r"limits the rate of requests \(429\)"),
    500: (ConnectionError, "Hub failed with status 500: try again later"),
    503: (ConnectionError, "Hub failed with status 503: try again later"),
}


@pytest.mark.parametrize(
    "step", ["create", "validate", "preupload", "batch", "put", "commit"]
)
@pytest.mark.parametrize("status", STATUSES)
def test_a_failure_is_one_sentence(
    folder, hub: Hub, status: int, step: str
) -> None:
    hub.fails[step] = (status, f"No quota\nfor {TOKEN}.")
    kind, match = STATUSES[status]
    with pytest.raises(kind, match=match) as caught:
        push_pretrained(folder, "hf://me/pets", license="mit")
    text = str(caught.value)
    assert text.endswith("'hf://me/pets'") or step != "create"
    assert "\n" not in text
    assert TOKEN not in text
    # A traceback shows no other error than this.
    shown = caught.value
    assert shown.__cause__ is None
    assert shown.__suppress_context__ or shown.__context__ is None
    made = step != "create"
    assert ("was made and is empty: hf://me/pets" in text) == made
    # Nothing of it is seen.
    assert [each.files for each in hub.repositories.values()] == [{}] * made


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_failure_of_what_uploads_large_files(
    folder, hub: Hub, monkeypatch, status: int
) -> None:
    """It is no Python, and retries what may pass for minutes."""
    pytest.importorskip("hf_xet")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.fails["xet"] = (status, "")
    kind, _ = STATUSES[status]
    with pytest.raises(kind, match=rf"\({status}\).*was made and is empty"):
        push_pretrained(folder, "hf://me/pets", license="mit")
    assert hub.asked[-1] == "xet"


def test_a_failure_leaves_what_was_there(folder, hub: Hub) -> None:
    files = {"config.json": b"{}"}
    hub.repositories["me/pets"] = mine = Repository(files=dict(files))
    hub.fails["commit"] = (503, "")
    with pytest.raises(ConnectionError, match="status 503:") as caught:
        push_pretrained(folder, "hf://me/pets", license="mit", overwrite=True)
    assert "was made" not in str(caught.value)
    assert mine.files == files
    hub.fails = {"info": (403, "")}
    with pytest.raises(PermissionError, match=r"have permission .* \(403\)"):
        push_pretrained(folder, "hf://me/pets", license="mit", overwrite=True)


def test_an_interrupted_upload_says_what_is_there(
    folder, hub: Hub, monkeypatch
) -> None:
    from huggingface_hub import HfApi

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(HfApi, "create_commit", interrupted)
    with pytest.raises(KeyboardInterrupt, match="was made and is empty: hf://"):
        push_pretrained(folder, "hf://me/pets", license="mit")
    with pytest.raises(KeyboardInterrupt, match="^$"):
        push_pretrained(folder, "hf://me/pets", license="mit", overwrite=True)


def test_what_the_library_raises_is_shown_in_a_line(
    folder, hub: Hub, monkeypatch
) -> None:
    from huggingface_hub import HfApi

    def fails(*_: object, **__: object) -> None:
        raise ValueError(f"odd\n{TOKEN} " + "x" * 500)

    monkeypatch.setattr(HfApi, "create_repo", fails)
    with pytest.raises(OSError, match="failed .ValueError: odd .token. xx"):
        push_pretrained(folder, "hf://me/pets", license="mit")


def test_without_a_network(folder, hub: Hub, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ConnectionError, match="cannot be reached; check the networ"
    ):
        push_pretrained(folder, "hf://me/pets", license="mit")
    with pytest.raises(
        ConnectionError, match="cannot be reached; check the networ"
    ):
        kp.load_pretrained("hf://me/pets")


def test_what_cannot_be_loaded(hub: Hub) -> None:
    with pytest.raises(FileNotFoundError, match=r"visible to you \(404\)"):
        kp.load_pretrained("hf://me/nothing")
    hub.repositories["me/empty"] = Repository(files={"other": b""})
    with pytest.raises(FileNotFoundError, match="`source` must hold the files"):
        kp.load_pretrained("hf://me/empty")


# === The command ===


def test_a_dry_run_asks_nothing(folder, hub: Hub, capsys) -> None:
    arguments = ["push", str(folder), "hf://me/pets", "--license", "mit"]
    (folder / "scores.json").write_text(json.dumps(SCORES.to_dict()))
    assert main([*arguments, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == FILES
    size = (folder / "model.safetensors").stat().st_size
    assert lines[2].split()[1:] == [f"{size:,}", "bytes"]
    assert lines[3:] == [
        "license: mit",
        "mean IoU in the card: 0.7750",
        "Dry run: nothing was uploaded to hf://me/pets",
    ]
    assert err == ""
    assert hub.asked == []


def test_the_command_says_where_it_is(folder, hub: Hub, capsys) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    target = ["push", str(folder), "hf://me/pets"]
    assert main([*target, "--private"]) == 0
    assert capsys.readouterr().out.endswith(
        "README.md has been edited; it is uploaded unchanged\n"
        f"Uploaded to {hub.url}/me/pets; load_pretrained('hf://me/pets')\n"
    )
    assert hub.repositories["me/pets"].private
    assert "unless `overwrite`" in refusal(capsys, *target)
    assert main([*target, "--overwrite"]) == 0
    assert hub.repositories["me/pets"].commits == 2


def test_the_options_are_in_the_card(folder, hub: Hub) -> None:
    command = ["push", str(folder), "hf://me/pets", "--license", "mit"]
    assert main([*command, "--datasets", "a", "b", "--recipe", "scenes"]) == 0
    card = hub.repositories["me/pets"].files["README.md"]
    assert front_matter(card)["datasets"] == ["a", "b"]
    assert b"- Recipe: scenes (" in card


def test_the_variables_of_the_library_are_enough(folder, hub: Hub) -> None:
    """As a user has it: a process of its own, and nothing replaced."""
    variables = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "keras_pspnet_command", "push"),
            *(str(folder), "hf://me/pets", "--license", "mit"),
        ],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"Uploaded to {hub.url}/me/pets" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert sorted(hub.repositories["me/pets"].files) == FILES
