"""Finds the file of an adapter: on disk, or on the Hugging Face hub and in its cache."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.pipelines.lora_catalog import SUFFIX

_USUAL_NAME = "pytorch_lora_weights.safetensors"  # as diffusers saves one
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?P<file>(?:/[\w. -]+)+\.safetensors)?", re.ASCII)
_SHOWN_FILES = 20
_SHOWN_CHARACTERS = 200


def locate(where: str, folder: Path) -> Path:
    """The file that `where` means; one on the hub is downloaded unless it is in the cache.

    What is on disk comes first. The hub is asked for what looks like one of its ids and is not there; never with the
    environment variable HF_HUB_OFFLINE, when its cache is all there is.

    Args:
        where: a file, a folder with one adapter, a hub id `org/name` with one adapter, or `org/name/file.safetensors`.
        folder: where a relative path starts.

    Raises:
        AdapterError: nothing is there, it is not clear which of several is meant, or the hub refuses.
    """
    if "://" in where:
        raise AdapterError(f"{_shown(where)}: a URL is not supported; a file, a folder or a hub id is")
    path = folder / where
    try:
        if path.is_file():
            return path
        if path.is_dir():
            names = [file.name for file in path.iterdir() if file.is_file()]
            return path / _chosen(_shown(where), names)
    except AdapterError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise AdapterError(f"{_shown(where)}: it cannot be looked at: {reason}") from error
    if (found := _HUB_ID.fullmatch(where)) is None or any(part in (".", "..") for part in where.split("/")):
        raise AdapterError(f"{_shown(where)}: there is no such file or folder")
    file = found["file"] or ""
    return _on_hub(where.removesuffix(file), file.removeprefix("/"))


def _on_hub(repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download  # slow to import, and seldom needed

    shown = _shown(f"{repository}/{file}" if file else repository)
    try:
        return Path(hf_hub_download(repository, file or _chosen(shown, _names_on_hub(repository))))
    except AdapterError:
        raise
    except Exception as error:  # of many kinds: no such repository or file, no access, no network, a full disk
        reason = (error.strerror if isinstance(error, OSError) else None) or str(
            error
        )  # without a path of this machine
        said = reason.partition("\n")[0][:_SHOWN_CHARACTERS]
        raise AdapterError(f"{shown}: no such file here, and the hub says: {said or type(error).__name__}") from error


def _names_on_hub(repository: str) -> list[str]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return HfApi().list_repo_files(repository)
    except HfHubHTTPError:  # the hub's own answer
        raise
    except Exception:  # offline by the environment, or no network: what was downloaded once is there still
        cached = Path(snapshot_download(repository, local_files_only=True))
        return [file.name for file in cached.iterdir()]


def _chosen(shown: str, names: Iterable[str]) -> str:
    """The one adapter among files, of which those in subfolders do not count."""
    found = sorted(name for name in names if name.endswith(SUFFIX) and "/" not in name)
    if _USUAL_NAME in found:
        return _USUAL_NAME
    if not found:
        raise AdapterError(f"{shown}: there is no *{SUFFIX} in it")
    if len(found) > 1:
        more = f" and {len(found) - _SHOWN_FILES} more" if len(found) > _SHOWN_FILES else ""
        raise AdapterError(f"{shown}: there are several, name one of them: {', '.join(found[:_SHOWN_FILES])}{more}")
    return found[0]


def _shown(where: str) -> str:
    """What a message has of it: a path on this machine without its folders."""
    text = PurePosixPath(where).name if where.startswith(("/", "~")) else where
    return text if text.isprintable() and len(text) <= _SHOWN_CHARACTERS else repr(text[:_SHOWN_CHARACTERS])
