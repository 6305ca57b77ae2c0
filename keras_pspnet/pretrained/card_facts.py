"""What only its maker knows of a model, and the metadata that says it."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from keras_pspnet.utils import check_rule, is_number

# Of `Scores.to_dict`: entry -> its name in tables.
METRICS = {
    "mean_iou": "mean IoU",
    "mean_f1": "mean F1",
    "mean_accuracy": "mean accuracy",
    "pixel_accuracy": "pixel accuracy",
}
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.S | re.M)


@dataclasses.dataclass(frozen=True)
class CardFacts:
    """What a model card says beyond what the files of the model hold.

    Args:
        license: As the Hub abbreviates it, such as `"apache-2.0"`.
        datasets: Names of the data sets that it was trained on.
        recipe: Name of the recipe of the run.
        scores: `METRICS` and, where known, `images` and `protocol`.

    Raises:
        ValueError: If a value cannot stand in a card.
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
            # A run may have any name, and must not fail by it in the end.
            text = self.recipe.encode("utf-8", "replace").decode()
            object.__setattr__(self, "recipe", " ".join(text.split()) or None)

    def __or__(self, other: CardFacts) -> CardFacts:
        """Returns the facts of both; what `other` says wins."""
        return CardFacts(
            license=other.license or self.license,
            datasets=other.datasets or self.datasets,
            recipe=other.recipe or self.recipe,
            scores=other.scores or self.scores,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns what is known, ready for JSON."""
        content = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        content["datasets"] = list(self.datasets)
        return {name: value for name, value in content.items() if value}

    @classmethod
    def from_dict(cls, content: Any) -> CardFacts:
        """Builds the facts that `to_dict` described.

        Args:
            content: What it returned; it may come from anybody.

        Raises:
            TypeError: If it is something else.
            ValueError: Likewise.
        """
        facts = dict(content)
        scores = facts.pop("scores", None)
        datasets = tuple(facts.pop("datasets", ()))
        if scores is not None:
            scores = score_summary(scores)
        return cls(**facts, datasets=datasets, scores=scores)

    def front_matter(self, name: str) -> str:
        """Returns the YAML that the Hub reads, without the rules around it.

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
        # A result must name its data set. Of several, nobody has said which.
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
    """Picks what a card shows from a report of scores.

    Args:
        content: `Scores.to_dict()`, or a part of it, possibly among others.

    Returns:
        Those of `METRICS` that have a value, `images`, and the name of the
        `protocol`.

    Raises:
        ValueError: If it is no such report.
    """
    kept = isinstance(content, Mapping) and "mean_iou" in content
    kept = kept and all(
        content.get(key) is None
        or (is_number(content[key]) and float(content[key]) <= 1)
        for key in METRICS
    )
    if not kept:
        raise ValueError(
            "`scores` must be Scores or what Scores.to_dict returned. "
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
        Its entries, none where there is no front matter.

    Raises:
        ValueError: If it is no YAML of entries.
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
    """Tells whether a value is a short text of some characters."""
    return isinstance(value, str) and bool(
        re.fullmatch(pattern, value) and len(value) <= 96
    )
