"""Checks a bill of materials against CycloneDX's own schema."""

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    # The first fault, which ends with status 1; None is none.
    sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text))
