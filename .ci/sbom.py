"""Writes what the package runs on as a bill of materials, CycloneDX 1.6.

    make sbom

Components are the pins of a list with the hashes of their files. Licences,
and who needs whom, are what the installed packages say of themselves. The
same pins give the same bytes: there is no time and no serial number.
"""

import argparse
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from pins import Pin, normal, read_pins

_PACKAGE = "keras-pspnet"
_LICENSE_CLASSIFIER = "License :: "


def main() -> None:
    """Describes the first argument, a list, in the second, a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", type=Path)
    parser.add_argument("bill", type=Path)
    args = parser.parse_args()
    text = json.dumps(describe(list(read_pins(args.list))), indent=2)
    args.bill.write_text(f"{text}\n", encoding="utf-8")


def describe(pins: list[Pin]) -> dict[str, Any]:
    """Describes the package and what it runs on.

    Args:
        pins: All that is installed for it.

    Returns:
        The bill, for JSON.

    Raises:
        ValueError: If a release is installed that is not the pinned one.
    """
    for pin in pins:
        installed = importlib.metadata.version(pin.name)
        if installed != pin.version:
            raise ValueError(
                "`list` must be installed. "
                f"Received: {pin.name}=={pin.version}, not {installed}"
            )
    version = importlib.metadata.version(_PACKAGE)
    package = Pin(_PACKAGE, version, ())
    refs = {normal(pin.name): _purl(pin) for pin in (package, *pins)}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _component(package)},
        "components": [_component(pin) for pin in pins],
        "dependencies": [
            {"ref": refs[name], "dependsOn": _needs(name, refs)}
            for name in refs
        ],
    }


def _purl(pin: Pin) -> str:
    return f"pkg:pypi/{normal(pin.name)}@{pin.version}"


def _component(pin: Pin) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(pin),
        "name": pin.name,
        "version": pin.version,
        "purl": _purl(pin),
    }
    if licenses := _licenses(pin.name):
        component["licenses"] = licenses
    if pin.hashes:
        # One component, many files: a wheel for each platform and Python.
        files = [{"alg": "SHA-256", "content": each} for each in pin.hashes]
        component["externalReferences"] = [
            {"type": "distribution", "url": _purl(pin), "hashes": files}
        ]
    return component


def _licenses(name: str) -> list[dict[str, Any]]:
    """Reads the licence in the newest of the three ways to declare one."""
    said = importlib.metadata.metadata(name).json
    if expression := said.get("license_expression"):
        return [{"expression": expression}]
    names = [
        each.rpartition(" :: ")[2]
        for each in said.get("classifier", ())
        if each.startswith(_LICENSE_CLASSIFIER)
    ]
    # Some put the whole text here, of which the first line is the name.
    names = names or str(said.get("license", "")).splitlines()[:1]
    return [{"license": {"name": each}} for each in names]


def _needs(name: str, refs: dict[str, str]) -> list[str]:
    """Lists what a package always needs; some of it on some platforms only."""
    needed = set()
    for text in importlib.metadata.requires(name) or ():
        requirement = Requirement(text)
        optional = "extra" in str(requirement.marker or "")
        if not optional and normal(requirement.name) in refs:
            needed.add(refs[normal(requirement.name)])
    return sorted(needed)


if __name__ == "__main__":
    main()
