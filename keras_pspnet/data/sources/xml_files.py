"""Reads untrusted XML files."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from keras_pspnet.utils import naming_errors


def read_xml(path: Path) -> Element:
    """Reads an XML file, and refuses entities and references to other files.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not XML, or declares entities.
    """
    from defusedxml.ElementTree import fromstring

    with naming_errors("annotations", path, "readable"):
        content = path.read_bytes()
    try:
        # Entities could expand a few bytes to any size.
        return fromstring(content, forbid_dtd=True)
    except (ParseError, ValueError, LookupError) as error:
        raise ValueError(
            "`annotations` must be a complete XML file without entities "
            f"({error}). Received: annotations={str(path)!r}"
        ) from error


def child_text(element: Element, path: str) -> str:
    """Returns the stripped text of an element below another.

    Raises:
        ValueError: If it is missing or empty.
    """
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"<{path}> must not be empty")
    return text
