"""Uploads files to the Hugging Face Hub: all in one commit, or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_pspnet.pretrained.hub import hub_errors, hub_library, status_of
from keras_pspnet.version import __version__


def upload(
    argument: str,
    target: str,
    repository: str,
    files: Mapping[str, bytes | Path],
    private: bool = False,
    overwrite: bool = False,
) -> str:
    """Uploads files to a repository, which is made for them.

    Args:
        argument: Name of the argument that names the repository.
        target: Its value.
        repository: `owner/name`.
        files: Name in the repository -> content, or the file that has it.
        private: Whether only its owner may see it.
        overwrite: Whether it may be there already; files of other names stay.

    Returns:
        The repository's address.

    Raises:
        FileExistsError: If the repository exists.
        ImportError: If huggingface_hub is not installed.
        OSError: As of `hub_errors`.
        ValueError: If a repository that exists is not `private`.
    """
    hub = hub_library()
    if hub.get_token() is None:
        raise PermissionError(
            "The Hub must be asked with a token: log in with `hf auth login` "
            f"or set HF_TOKEN. Received: {argument}={target!r}"
        )
    api = hub.HfApi(
        token=True,
        library_name="keras-pspnet",
        library_version=__version__,
    )
    made = True
    if overwrite:
        made = not _is_there(api, argument, target, repository, private)
    if made:
        _make(api, argument, target, repository, private)
    note = f"The repository was made and is empty: {target}"
    try:
        with hub_errors(argument, target):
            # All that is in a commit is seen at once, or not at all.
            api.create_commit(
                repository,
                [
                    hub.CommitOperationAdd(name, content)
                    for name, content in files.items()
                ],
                commit_message=f"Upload from keras_pspnet {__version__}",
            )
    except OSError as error:
        if made:
            raise type(error)(f"{error}. {note}") from None
        raise
    except KeyboardInterrupt:
        if made:
            raise KeyboardInterrupt(f"Interrupted. {note}") from None
        raise
    return f"{api.endpoint}/{repository}"


def _is_there(
    api: Any, argument: str, target: str, repository: str, private: bool
) -> bool:
    """Tells whether a repository exists, and is as private as it must be."""
    with hub_errors(argument, target):
        try:
            info = api.repo_info(repository)
        except Exception as error:
            if status_of(error) == 404:
                return False
            raise
    if private and not info.private:
        raise ValueError(
            "`private` must be left out for a public repository that exists; "
            "its settings at the Hub make it private. "
            f"Received: {argument}={target!r}, private=True"
        )
    return True


def _make(
    api: Any, argument: str, target: str, repository: str, private: bool
) -> None:
    with hub_errors(argument, target):
        try:
            # Without it, an organization's own default decides.
            api.create_repo(repository, private=private or None)
            return
        except Exception as error:
            if status_of(error) != 409:
                raise
    raise FileExistsError(
        f"`{argument}` must not exist at the Hub yet, unless `overwrite` is "
        f"true (--overwrite). Received: {argument}={target!r}"
    )
