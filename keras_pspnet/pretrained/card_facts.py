"""Facts that only the author of a model knows, and their metadata."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from keras_pspnet.utils import check_rule, is_number

# Entry of `Scores.to_dict` -> its name in tables.
METRICS = {
    "mean_iou": "mean IoU",
    "mean_f1": "mean F1",
    "mean_accuracy": "mean accuracy",
    "pixel_accuracy": "pixel accuracy",
}
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.S | re.M)


@dataclasses.dataclass(frozen=True)
class CardFacts:
    """Facts in a model card that the files of the model do not contain.

    Args:
        license: License as the Hub abbreviates it, such as `"apache-2.0"`.
        datasets: Names of the data sets that the model was trained on.
        recipe: Name of the recipe of the run.
        scores: `METRICS` and, if known, `images` and `protocol`.

    Raises:
        ValueError: If a value is not valid in a card.
    """

    license: str | None = None
    datasets: tuple[str, ...] = ()
    recipe: str | None = None
    scores: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        rule = "be one of the Hub's abbreviations, such as apache-2.0, "
        rule += "cc-by-4.0 or other"
        kept = self.license is None or _is_name("[a-z0-9.+-]+", self.license)
        check_rule("license", self.license, rule, bool(kept))
        for name in self.datasets:
            kept = _is_name(r"[\w./ +()-]+", name)
            check_rule("datasets", name, "hold names of data sets", kept)
        if self.recipe is not None:
            kept = isinstance(self.recipe, str)
            check_rule("recipe", self.recipe, "be the name of a recipe", kept)
            # Recipes may have any name, and a long run must not fail over it.
            text = self.recipe.encode("utf-8", "replace").decode()
            object.__setattr__(self, "recipe", " ".join(text.split()) or None)

    def __or__(self, other: CardFacts) -> CardFacts:
        """Merges the facts of both; those of `other` take precedence."""
        return CardFacts(
            license=other.license or self.license,
            datasets=other.datasets or self.datasets,
            recipe=other.recipe or self.recipe,
            scores=other.scores or self.scores,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the known facts, ready for JSON."""
        content = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        content["datasets"] = list(self.datasets)
        return {name: value for name, value in content.items() if value}

    @classmethod
    def from_dict(cls, content: Any) -> CardFacts:
        """Builds facts from the result of `to_dict`.

        Args:
            content: The result of `to_dict`, possibly from an untrusted file.

        Raises:
            TypeError: If it is anything else.
            ValueError: Likewise.
        """
        facts = dict(content)
        scores = facts.pop("scores", None)
        datasets = tuple(facts.pop("datasets", ()))
        if scores is not None:
            scores = score_summary(scores)
        return cls(**facts, datasets=datasets, scores=scores)

    def front_matter(self, name: str) -> str:
        """Returns the YAML that the Hub reads, without the `---` lines.

        Args:
            name: Name of the model.
        """
        import yaml

        content: dict[str, Any] = {
            "license": self.license,
            "library_name": "keras",
            "pipeline_tag": "image-segmentation",
            "tags": [
                *("keras-pspnet", "pspnet", "semantic-segmentation"),
                "image-segmentation",
            ],
            "datasets": list(self.datasets),
        }
        if self.scores:
            content["model-index"] = [self._model_index(name)]
        known = {key: value for key, value in content.items() if value}
        return yaml.safe_dump(known, sort_keys=False, allow_unicode=True)

    def _model_index(self, name: str) -> dict[str, Any]:
        # A result must name its data set; of several, it is unknown which.
        known = len(self.datasets) == 1
        dataset = self.datasets[0] if known else "unknown"
        scores = self.scores or {}
        metrics = [
            {"type": key, "name": text, "value": scores[key]}
            for key, text in METRICS.items()
            if key in scores
        ]
        return {
            "name": name,
            "results": [
                {
                    "task": {
                        "type": "image-segmentation",
                        "name": "Semantic segmentation",
                    },
                    "dataset": {"name": dataset, "type": dataset},
                    "metrics": metrics,
                }
            ],
        }


def score_summary(content: Any) -> dict[str, Any]:
    """Selects the scores that a card shows.

    Args:
        content: `Scores.to_dict()` or a part of it; other entries are
            skipped.

    Returns:
        The entries of `METRICS` that have a value, `images`, and the name of
        the `protocol`.

    Raises:
        ValueError: If the content is no report of scores.
    """
    kept = isinstance(content, Mapping) and "mean_iou" in content
    kept = kept and all(
        content.get(key) is None
        or (is_number(content[key]) and float(content[key]) <= 1)
        for key in METRICS
    )
    if not kept:
        raise ValueError(
            "`scores` must be Scores or the result of Scores.to_dict. "
            f"Received: scores={str(content)[:200]}"
        )
    summary: dict[str, Any] = {
        key: float(content[key])
        for key in METRICS
        if content.get(key) is not None and not math.isnan(content[key])
    }
    images, protocol = content.get("images"), content.get("protocol")
    if isinstance(images, int) and images > 0:
        summary["images"] = images
    if isinstance(protocol, Mapping):
        protocol = protocol.get("name")
    if _is_name(r"[\w .-]+", protocol):
        summary["protocol"] = protocol
    return summary


def read_front_matter(text: str, path: str | os.PathLike[str]) -> Any:
    """Reads the metadata of a model card.

    Args:
        text: The card.
        path: Its file, for the error.

    Returns:
        Its entries; none if the card has no front matter.

    Raises:
        ValueError: If the front matter is not a YAML mapping.
    """
    import yaml

    found = _FRONT.match(text)
    try:
        content = yaml.safe_load(found[1]) if found else None
    except (yaml.YAMLError, RecursionError, ValueError):
        content = found
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(
            "A model card must begin with YAML between two lines of '---'. "
            f"Received: {os.fspath(path)!r}"
        )
    return content


def _is_name(pattern: str, value: Any) -> bool:
    """Tells whether a value is a short string of allowed characters."""
    return isinstance(value, str) and bool(
        re.fullmatch(pattern, value) and len(value) <= 96
    )
