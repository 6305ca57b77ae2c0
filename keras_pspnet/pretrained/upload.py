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
    """Creates a repository and uploads files to it.

    Args:
        argument: Name of the argument for the repository, for errors.
        target: Its value.
        repository: `owner/name`.
        files: Name in the repository -> content, or path of a file.
        private: Whether only its owner can see it.
        overwrite: Whether the repository may exist; its other files are kept.

    Returns:
        The address of the repository.

    Raises:
        FileExistsError: If the repository exists, without `overwrite`.
        ImportError: If huggingface_hub is not installed.
        OSError: As in `hub_errors`.
        ValueError: If `private` is asked of an existing public repository.
    """
    hub = hub_library()
    if hub.get_token() is None:
        raise PermissionError(
            "The Hub requires a token: log in with `hf auth login` or set "
            f"HF_TOKEN. Received: {argument}={target!r}"
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
            # A commit becomes visible as a whole.
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
            "make it private in its settings on the Hub. "
            f"Received: {argument}={target!r}, private=True"
        )
    return True


def _make(
    api: Any, argument: str, target: str, repository: str, private: bool
) -> None:
    with hub_errors(argument, target):
        try:
            # None leaves the default of the organization.
            api.create_repo(repository, private=private or None)
            return
        except Exception as error:
            if status_of(error) != 409:
                raise
    raise FileExistsError(
        f"`{argument}` must not exist on the Hub yet, unless `overwrite` is "
        f"true (--overwrite). Received: {argument}={target!r}"
    )
