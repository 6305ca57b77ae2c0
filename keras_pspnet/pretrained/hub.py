"""The Hugging Face Hub: names, the library, and what its failures mean."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

HUB_PREFIX = "hf://"

# A repository's name at the Hub, and likewise its owner's.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_LONGEST = 96
# What the library's releases speak HTTP with; their errors share no base.
_HTTP_LIBRARIES = {"httpx", "httpx2", "requests", "urllib3"}
_SAID = 200
# What uploads large files is no Python, and has a status in words only.
_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})\b")


def is_hub_name(target: Any) -> bool:
    """Tells whether an argument names a repository rather than a folder."""
    return isinstance(target, str) and target.startswith(HUB_PREFIX)


def repository_of(argument: str, target: str) -> str:
    """Returns the name of a repository by the rules of the Hub.

    Args:
        argument: Name of the argument.
        target: Its value.

    Returns:
        `owner/name`.

    Raises:
        ValueError: If it is not of the form `hf://owner/name`.
    """
    name = target.removeprefix(HUB_PREFIX)
    kept = re.fullmatch(f"{_PART}/{_PART}", name) and len(name) <= _LONGEST
    kept = kept and is_hub_name(target)
    if not kept or re.search(r"--|\.\.|\.git$", name):
        raise ValueError(
            f"`{argument}` must be 'hf://owner/name', of letters, digits, "
            f"'-', '_' and '.'. Received: {argument}={target!r}"
        )
    return name


def hub_library() -> Any:
    """Imports huggingface_hub.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "huggingface_hub must be installed for 'hf://' names: "
            "pip install keras-pspnet[hub]"
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def hub_errors(argument: str, target: str) -> Iterator[None]:
    """Says in one sentence what went wrong at the Hub.

    The library's own errors are not chained: they show addresses that are
    signed for whoever holds them.

    Args:
        argument: Name of the argument.
        target: Its value.

    Yields:
        Nothing; the block calls the library and nothing else.

    Raises:
        ConnectionError: If the Hub is out of reach, fails, or wants fewer
            requests.
        FileExistsError: If what is made is there, or changed meanwhile.
        FileNotFoundError: If there is no such repository.
        OSError: If anything else fails.
        PermissionError: If the token is missing, wrong or does not suffice.
    """
    try:
        yield
    except Exception as error:
        kind, sentence = _meaning(error)
        raise kind(f"{sentence}. Received: {argument}={target!r}") from None


def status_of(error: BaseException) -> int | None:
    """Returns the HTTP status that an error is about, None without one.

    Args:
        error: The error, or one that was raised because of it.
    """
    for each in _chain(error):
        status = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        found = _STATUS.search(str(each))
        if found:
            return int(found[1])
    return None


def _meaning(error: Exception) -> tuple[type[OSError], str]:
    status = status_of(error)
    if status is None:
        return _without_status(error)
    said = _said(error)
    if status == 401:
        return PermissionError, (
            "The Hub must be asked with a valid token (401): log in with "
            "`hf auth login` or set HF_TOKEN, and check the name"
        )
    if status == 403:
        return PermissionError, (
            f"The token must have the right to do this at the Hub (403{said})"
        )
    if status == 404:
        return FileNotFoundError, (
            "The repository must exist at the Hub and be visible to you (404)"
        )
    if status == 409:
        return FileExistsError, (
            f"The repository must not change meanwhile (409{said})"
        )
    if status == 429:
        return ConnectionError, (
            "The Hub must be asked less often (429): wait and try again"
        )
    if status >= 500:
        return ConnectionError, (
            f"The Hub must be in order, and is not ({status}): try again later"
        )
    return OSError, f"The Hub must accept the request ({status}{said})"


def _without_status(error: Exception) -> tuple[type[OSError], str]:
    for each in _chain(error):
        library = type(each).__module__.partition(".")[0]
        is_file = getattr(each, "filename", None) is not None
        if library in _HTTP_LIBRARIES or (
            isinstance(each, ConnectionError | TimeoutError) and not is_file
        ):
            return ConnectionError, (
                "The Hub must be within reach; check the network, "
                "HF_HUB_OFFLINE and HF_ENDPOINT"
            )
    # The library says which file it was, and below it what happened.
    cause = error.__cause__ or error
    what = _shortened(f"{type(cause).__name__}: {cause}")
    return OSError, f"huggingface_hub must succeed, and did not ({what})"


def _said(error: Exception) -> str:
    """Returns what the Hub gave as its reason, to follow a status."""
    for each in _chain(error):
        words = getattr(each, "server_message", None)
        if words:
            return f", {_shortened(str(words))}"
    return ""


def _shortened(text: str) -> str:
    """Makes a line of a text, without the token, should it be in there."""
    token = hub_library().get_token()
    if token:
        text = text.replace(token, "[token]")
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _SAID else f"{line[:_SAID]} ..."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and those that it was raised because of."""
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.append(each)
        yield each
        each = each.__cause__ or each.__context__
