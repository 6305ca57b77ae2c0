"""Asks pip-audit for known vulnerabilities of every pin.

    make audit

pip-audit itself ends well where its service knows nothing of a release, or
of any. Here the status is 0 only if the service has answered for every pin;
75, a failure that may pass, if it has not; and 1 if something is known. What
is known of peers, which only comparisons run, is told and changes nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pins import normal, read_pins

_PIP_AUDIT = (
    *(sys.executable, "-m", "pip_audit", "--progress-spinner", "off"),
    # The lists are whole: nothing is resolved, nothing downloaded.
    *("--disable-pip", "--no-deps", "--format", "json", "--requirement"),
)
_KNOWN = 1
_NOT_ASKED = 75


def main() -> int:
    """Audits the lists of the command line, and returns the status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lists", nargs="+", type=Path)
    parser.add_argument("--peers", nargs="*", type=Path, default=[])
    args = parser.parse_args()
    known = unanswered = False
    for path in [*args.lists, *args.peers]:
        found, missing = audit(path)
        for line in found:
            print(f"{path}: {line}")
        if missing:
            print(f"{path}: NOT AUDITED, {missing}")
        known |= bool(found) and path not in args.peers
        unanswered |= bool(missing)
    if known:
        return _KNOWN
    if unanswered:
        print("The vulnerability service must be within reach for an audit.")
        return _NOT_ASKED
    print("Every pin was asked about, nothing else is known.")
    return 0


def audit(path: Path) -> tuple[list[str], str]:
    """Audits one list and those it names.

    Args:
        path: The list.

    Returns:
        What is known, a line each, and what there was no answer for, if any.
    """
    pins = list(read_pins(path))
    with tempfile.TemporaryDirectory() as folder:
        # Without markers: pip-audit asks about no pin of another Python.
        plain = Path(folder, path.name)
        plain.write_text("".join(f"{p.name}=={p.version}\n" for p in pins))
        done = subprocess.run(
            [*_PIP_AUDIT, str(plain)], capture_output=True, text=True
        )
    reasons = done.stderr.splitlines()
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except ValueError:
        answers = []
    answered = {}
    for answer in answers:
        if "vulns" in answer:
            answered[normal(answer["name"])] = answer["vulns"]
        else:
            reasons.append(answer["skip_reason"])
    found = [
        f"{pin.name}=={pin.version} has {fault['id']}, fixed in "
        f"{', '.join(fault['fix_versions']) or 'no release'}"
        for pin in pins
        for fault in answered.get(normal(pin.name), ())
    ]
    count = sum(normal(pin.name) not in answered for pin in pins)
    missing = f"{count} of {len(pins)} pins: {(reasons or ['?'])[-1]}"
    return found, missing if count else ""


if __name__ == "__main__":
    sys.exit(main())
