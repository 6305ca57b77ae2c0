"""The Hugging Face Hub: repository names, the library, and its errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

HUB_PREFIX = "hf://"

# Name of a repository or an owner on the Hub.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_LONGEST = 96
# HTTP libraries of huggingface_hub's releases; their errors share no base.
_HTTP_LIBRARIES = {"httpx", "httpx2", "requests", "urllib3"}
_SAID = 200
# The uploader of large files is not Python and gives the status in its text.
_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})\b")


def is_hub_name(target: Any) -> bool:
    """Tells whether an argument names a repository rather than a folder."""
    return isinstance(target, str) and target.startswith(HUB_PREFIX)


def repository_of(argument: str, target: str) -> str:
    """Returns the name of a repository, by the rules of the Hub.

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
    """Turns errors of the library into one sentence.

    The original errors are not chained, because they show signed URLs that
    work for anyone who has them.

    Args:
        argument: Name of the argument.
        target: Its value.

    Yields:
        Nothing; the block may call only the library.

    Raises:
        ConnectionError: If the Hub cannot be reached, fails, or limits
            requests.
        FileExistsError: If the repository exists, or changed at the same
            time.
        FileNotFoundError: If the repository does not exist.
        OSError: If anything else fails.
        PermissionError: If the token is missing, invalid or lacks the
            permission.
    """
    try:
        yield
    except Exception as error:
        kind, sentence = _meaning(error)
        raise kind(f"{sentence}. Received: {argument}={target!r}") from None


def status_of(error: BaseException) -> int | None:
    """Returns the HTTP status of an error, None without one.

    Args:
        error: The error, or one that it caused.
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
            "The Hub requires a valid token (401): log in with "
            "`hf auth login` or set HF_TOKEN, and check the name"
        )
    if status == 403:
        return PermissionError, (
            f"The token must have permission for this on the Hub (403{said})"
        )
    if status == 404:
        return FileNotFoundError, (
            "The repository must exist on the Hub and be visible to you (404)"
        )
    if status == 409:
        return FileExistsError, (
            f"The repository must not change during the upload (409{said})"
        )
    if status == 429:
        return ConnectionError, (
            "The Hub limits the rate of requests (429): wait and try again"
        )
    if status >= 500:
        return ConnectionError, (
            f"The Hub failed with status {status}: try again later"
        )
    return OSError, f"The Hub refused the request ({status}{said})"


def _without_status(error: Exception) -> tuple[type[OSError], str]:
    for each in _chain(error):
        library = type(each).__module__.partition(".")[0]
        is_file = getattr(each, "filename", None) is not None
        if library in _HTTP_LIBRARIES or (
            isinstance(each, ConnectionError | TimeoutError) and not is_file
        ):
            return ConnectionError, (
                "The Hub cannot be reached; check the network, "
                "HF_HUB_OFFLINE and HF_ENDPOINT"
            )
    # The error names the file, and its cause tells what happened.
    cause = error.__cause__ or error
    what = _shortened(f"{type(cause).__name__}: {cause}")
    return OSError, f"huggingface_hub failed ({what})"


def _said(error: Exception) -> str:
    """Returns the reason that the Hub gave, to follow a status."""
    for each in _chain(error):
        words = getattr(each, "server_message", None)
        if words:
            return f", {_shortened(str(words))}"
    return ""


def _shortened(text: str) -> str:
    """Shortens a text to one line, and removes the token from it."""
    token = hub_library().get_token()
    if token:
        text = text.replace(token, "[token]")
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _SAID else f"{line[:_SAID]} ..."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and its causes."""
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.append(each)
        yield each
        each = each.__cause__ or each.__context__
