"""Stores the images of a request where `output_url` says, all of them or none, and returns their addresses.

    store -> write each, in parallel, retried -> addresses
               └── one fails for good -> remove all of them -> StorageFailed

`fsspec` knows the stores. Credentials and endpoints are theirs to find, in the usual variables and files
(`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_CONNECTION_STRING`, ...):
they do not belong into a model's configuration.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import fsspec
from fsspec.asyn import sync

from imagegen.api.errors import StorageFailed
from imagegen.file_names import native

_log = logging.getLogger(__name__)

# How each remote store takes the content type; a web server guesses that of a local file from its name.
_CONTENT_TYPE: dict[str, Callable[[str], dict[str, Any]]] = {
    "s3": lambda content_type: {"ContentType": content_type},
    "gs": lambda content_type: {"content_type": content_type},
    "az": lambda content_type: {"content_settings": {"content_type": content_type}},
}
SIGNING_SCHEMES = tuple(_CONTENT_TYPE)
SCHEMES = ("file", *SIGNING_SCHEMES, "memory")

_OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    "s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}},  # we retry, within our own time
}
_FRESH = {
    "skip_instance_cache": True,
    "use_listings_cache": False,
}  # nothing of fsspec's other users
_THREADS = 16
_ATTEMPTS = 3
_FIRST_BACKOFF_S = 0.2
_LASTING = {errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG}


class ResultStore:
    """A folder or bucket for images. Safe from any thread.

    Args:
        output_url: `scheme://...`, one of SCHEMES.
        public_base_url: what stands before the key in an address; None for addresses signed by the store.
        signed_url_s: how long a signed address is good for, in seconds.
        timeout_s: longest time for storing the images of one request on a remote store, and again for removing
            them after a failure.

    Raises:
        ImportError: the package for the store is not installed.
    """

    def __init__(self, output_url: str, public_base_url: str | None, signed_url_s: int, timeout_s: float) -> None:
        self._scheme = output_url.partition("://")[0]
        url = native(output_url) if self._scheme == "file" else output_url
        self._files, root = fsspec.core.url_to_fs(url, **_FRESH, **_OPTIONS.get(self._scheme, {}))
        if self._scheme == "s3":
            self._files.retries = 1  # s3fs' own, around botocore's
        self._root = root.rstrip("/")
        self._public_base_url = public_base_url.rstrip("/") if public_base_url else None
        self._signed_url_s = signed_url_s
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")

    def store(self, images: Sequence[bytes], keys: Sequence[str], content_type: str) -> list[str]:
        """Store `images`, each under its key; their addresses, in order.

        Raises:
            StorageFailed: one of them could not be stored; none is left, as far as the store can still be reached.
        """
        until_s = time.monotonic() + self._timeout_s
        tasks = [
            self._pool.submit(_retried, self._write, key, image, content_type, until_s=until_s)
            for key, image in zip(keys, images, strict=True)
        ]
        wait(tasks)  # each ends in time
        try:
            for task in tasks:
                task.result()
            return [self._address(key) for key in keys]
        except Exception as error:
            _log.error("storing under %s failed", keys[0].rpartition("/")[0], exc_info=error)
            self._remove_all(keys)
            raise StorageFailed("the images could not be stored; the server log has the reason") from error

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown(wait=True)

    def _write(self, key: str, image: bytes, content_type: str, until_s: float) -> None:
        path = f"{self._root}/{key}"
        if self._scheme != "file":
            options = _CONTENT_TYPE[self._scheme](content_type) if self._scheme in _CONTENT_TYPE else {}
            self._call("pipe_file", path, image, until_s=until_s, **options)
            return
        folder, _, name = path.rpartition("/")
        unfinished = f"{folder}/.{name}.part"  # in the same folder, so that moving it is one step
        try:
            self._files.pipe_file(unfinished, image)
            self._files.mv(unfinished, path)
        except BaseException:
            with suppress(OSError):
                self._files.rm_file(unfinished)
            raise

    def _remove_all(self, keys: Sequence[str]) -> None:
        """Remove what lies under `keys`; also what failed, since only its response may have been lost."""
        # Threads of their own: those for writing may all be waiting for a store that hangs.
        with ThreadPoolExecutor(len(keys), thread_name_prefix="remove") as pool:
            until_s = time.monotonic() + self._timeout_s
            tasks = [pool.submit(_retried, self._remove, key, until_s=until_s) for key in keys]
        for key, task in zip(keys, tasks, strict=True):
            if error := task.exception():
                _log.error("%s may be left in the store", key, exc_info=error)
        if self._scheme == "file":
            self._remove_empty_folders(keys[0])

    def _remove(self, key: str, until_s: float) -> None:
        with suppress(FileNotFoundError):
            self._call("rm_file", f"{self._root}/{key}", until_s=until_s)

    def _remove_empty_folders(self, key: str) -> None:
        with suppress(OSError):  # the first one that is not empty
            while "/" in key:
                key = key.rpartition("/")[0]
                self._files.rmdir(f"{self._root}/{key}")

    def _address(self, key: str) -> str:
        if self._public_base_url is not None:
            return f"{self._public_base_url}/{key}"
        return str(self._files.sign(f"{self._root}/{key}", expiration=self._signed_url_s))

    def _call(self, method: str, *arguments: Any, until_s: float, **options: Any) -> None:
        if not self._files.async_impl:
            getattr(self._files, method)(*arguments, **options)
            return
        remaining_s = until_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("no time is left")
        sync(self._files.loop, getattr(self._files, f"_{method}"), *arguments, timeout=remaining_s, **options)


def _retried(action: Callable[..., None], *arguments: Any, until_s: float) -> None:
    """Call `action`, again after failures that may be transient, as long as there is time."""
    for attempt in range(_ATTEMPTS):
        try:
            return action(*arguments, until_s=until_s)
        except Exception as error:
            backoff_s = _FIRST_BACKOFF_S * 2**attempt
            last = attempt == _ATTEMPTS - 1 or time.monotonic() + backoff_s >= until_s
            if last or isinstance(error, PermissionError) or getattr(error, "errno", None) in _LASTING:
                raise
            time.sleep(backoff_s)
