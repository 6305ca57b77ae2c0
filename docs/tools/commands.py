"""Writes the page of the command line from its parsers.

    python docs/tools/commands.py

In the environment of the package: the parsers are those that the commands use.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from keras_pspnet.cli.main import make_parser

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/commands.md"
START = """\
# Command line

<!-- Written by docs/tools/commands.py; do not edit. -->

Exit status of every command: 0; 1 if it ran and failed, for some of several
images for instance; 2 for bad input, with one line on stderr; 75 if a training
run lost another worker; 130 after Ctrl-C. `--help`, usage errors and `info`
answer without importing TensorFlow.
"""


def text() -> str:
    """Returns the page."""
    parts = [START, *_commands(make_parser())]
    client = _client_parser()
    parts += _section(client, f"python serving/{client.prog}", "")
    return "\n".join(parts)


def _commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yields the sections of a parser's commands, and of theirs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            about = {each.dest: each.help for each in action._choices_actions}
            for name, command in action.choices.items():
                yield from _section(command, command.prog, about[name])
                yield from _commands(command)


def _section(
    parser: argparse.ArgumentParser, name: str, about: str | None
) -> Iterator[str]:
    yield f"## {name}\n"
    about = (about or parser.description or "").rstrip(".")
    if about:
        yield f"{about[0].upper()}{about[1:]}.\n"
    plain: list[argparse.Action] = []
    groups = []
    for group in parser._action_groups:
        actions = [
            action
            for action in group._group_actions
            if not isinstance(
                action, argparse._HelpAction | argparse._SubParsersAction
            )
        ]
        if group.title in ("positional arguments", "options"):
            plain += actions
        else:
            about = f": {group.description}" if group.description else ""
            groups.append((f"**{group.title}**{about}\n", actions))
    for title, actions in [("", plain), *groups]:
        if actions:
            yield from filter(None, [title])
            yield "\n".join(["| | |", "|---|---|", *map(_row, actions), ""])
    if parser.epilog:
        yield f"{parser.epilog}\n"


def _row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    value = _value(action)
    first = f"{names} {value}".strip()
    text = (action.help or "") % {
        **vars(action),
        "prog": "",
    }
    if action.required and action.option_strings:
        text += " (required)"
    return f"| {first} | {_escaped(text)} |"


def _value(action: argparse.Action) -> str:
    """Returns what follows an option, as code."""
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return " \\| ".join(f"`{choice}`" for choice in action.choices)
    name = action.metavar or action.dest
    if not action.option_strings and isinstance(name, str):
        name = name.upper()
    if isinstance(name, tuple):
        return f"`{' '.join(name)}`"
    name = name if action.metavar else name.upper()
    return f"`{name} ...`" if action.nargs == "+" else f"`{name}`"


def _escaped(text: str) -> str:
    for mark in "|<>*_[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def _client_parser() -> argparse.ArgumentParser:
    path = ROOT / "serving/client.py"
    spec = importlib.util.spec_from_file_location("_client_of_docs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look annotations up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module._parser()


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
