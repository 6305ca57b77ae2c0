"""Helpers of the tests of pipelines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam
import pyarrow.parquet
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions
from image_files import encoded
from support import picture

from keras_pspnet.beam.errors import counts
from keras_pspnet.labels import LabelSet

# A class may be called as a column is.
LABELS = LabelSet(
    "three", ("park", "lake", "path"), ((9, 0, 0), (0, 9, 0), (0, 0, 9))
)
# Without a place to look for it, Beam would download an engine first.
RUNNER = ("--runner=DirectRunner", "--prism_location=none")


def run(transform: apache_beam.PTransform, *options: str) -> dict[str, int]:
    """Runs a pipeline in this process, and returns its nonzero counters."""
    with apache_beam.Pipeline(
        options=PipelineOptions([*RUNNER, *options])
    ) as pipeline:
        _ = pipeline | transform
    return {
        name: count for name, count in counts(pipeline.result).items() if count
    }


def table(output: Path) -> list[dict[str, Any]]:
    """Returns the rows by path, since their order is not defined."""
    rows = pyarrow.parquet.read_table(output / "table.parquet").to_pylist()
    return sorted(rows, key=lambda row: row["path"])


def errors(output: Path) -> dict[str, str]:
    lines = (output / "errors.jsonl").read_text().splitlines()
    letters = [json.loads(line) for line in lines]
    found = {letter["path"]: letter["error"] for letter in letters}
    assert len(found) == len(letters)
    return found


def write_images(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{index}.png" for index in range(count)]
    for index, file in enumerate(files):
        file.write_bytes(encoded(picture(40 + index, 50)))
    return files


class ElsewhereFileSystem(LocalFileSystem):
    """A file system that only Beam can read: elsewhere:// and a path."""

    @classmethod
    def scheme(cls) -> str:
        return "elsewhere"

    @staticmethod
    def _here(path: str) -> str:
        return path.removeprefix("elsewhere://")

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        super().mkdirs(self._here(path))

    def _list(self, folder: str) -> Iterator[Any]:
        for found in super()._list(self._here(folder)):
            found.path = f"elsewhere://{found.path}"
            yield found

    def exists(self, path: str) -> bool:
        return super().exists(self._here(path))

    def metadata(self, path: str) -> Any:
        found = super().metadata(self._here(path))
        found.path = f"elsewhere://{found.path}"
        return found

    def create(self, path: str, *arguments: Any, **options: Any) -> Any:
        return super().create(self._here(path), *arguments, **options)

    def open(self, path: str, *arguments: Any, **options: Any) -> Any:
        return super().open(self._here(path), *arguments, **options)

    def rename(self, sources: list[str], targets: list[str]) -> None:
        super().rename(
            [self._here(path) for path in sources],
            [self._here(path) for path in targets],
        )

    def delete(self, paths: list[str]) -> None:
        super().delete([self._here(path) for path in paths])
