"""Adapters in the host's memory: read once from their files, packed for a device, the least recently used leave."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cachetools import LRUCache

from imagegen.engine.adapters.adapter import Adapter, AdapterError, LowRank, Pairs, as_pairs, from_pairs
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.packing import Layout, pack
from imagegen.metrics import CacheStatistics

_log = logging.getLogger(__name__)
_HOST = torch.device("cpu")

_MOST_FILES = 10_000  # whose names, or refusals, are remembered

_FileKey = tuple[str, int, int, int, int]


@dataclass(frozen=True, eq=False)
class HostAdapter:
    """An adapter in one buffer of the host.

    Attributes:
        digest: of its file.
        layout: of the buffer: `{component: {layer: (down, up)}}`.
        buffer: uint8; page-locked where a GPU is to have it.
        rank: the largest of its layers.
        warnings: for clients.
    """

    digest: str
    layout: Layout
    buffer: torch.Tensor
    rank: int
    warnings: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Of the buffer."""
        return self.layout.size

    @property
    def layers(self) -> Mapping[str, frozenset[str]]:
        """The names of its layers by component."""
        return {name: frozenset(layers) for name, layers in self.unpacked(self.buffer).items()}

    def unpacked(self, buffer: torch.Tensor) -> Mapping[str, Mapping[str, LowRank]]:
        """The layers by component, in a copy of the buffer."""
        components: dict[str, Pairs] = self.layout.unpack(buffer)
        return {name: from_pairs(pairs) for name, pairs in components.items()}


def packed(adapter: Adapter, *, pinned: bool) -> HostAdapter:
    """An adapter as it waits for a device.

    Args:
        adapter: as it was read.
        pinned: whether its memory is page-locked, so that a GPU can take it while the host goes on.
    """
    layout, buffer = pack({name: as_pairs(layers) for name, layers in adapter.components.items()}, _HOST)
    return HostAdapter(
        adapter.digest, layout, buffer.pin_memory() if pinned else buffer, adapter.rank, adapter.warnings
    )


class HostAdapters:
    """Reads adapters, each once however many ask for it at the same time. Safe from any thread.

    Args:
        locate: the file of what a catalog says: a file, a folder or a hub id; may download it.
        read: reads a file.
        max_bytes: most bytes that are kept.
        pinned: as for `packed`.
        read_in: is told how many seconds a file took.
    """

    def __init__(
        self,
        locate: Callable[[str], Path],
        read: Callable[[Path], Adapter],
        max_bytes: int,
        *,
        pinned: bool = False,
        read_in: Callable[[float], Any] = lambda seconds: None,
    ) -> None:
        self._locate = locate
        self._read = read
        self._pinned = pinned
        self._read_in = read_in
        self._cache = ContentCache(max_bytes)
        self._lock = threading.Lock()
        self._files: LRUCache[str, Path] = LRUCache(_MOST_FILES)  # where each adapter was found
        self._refusals: LRUCache[_FileKey, str] = LRUCache(_MOST_FILES)
        self._under_way: dict[_FileKey, Future[HostAdapter]] = {}

    @property
    def statistics(self) -> CacheStatistics:
        """The counters."""
        return self._cache.statistics

    def known(self, where: str) -> HostAdapter | None:
        """The adapter, where it is here and its file has not changed; None otherwise. Looks at its file alone."""
        file = self._file(where)
        try:
            key = None if file is None else _key(file)
        except OSError:
            return None
        found: HostAdapter | None = self._cache.get(key) if key in self._cache else None
        return found

    def get(self, where: str) -> HostAdapter:
        """The adapter, read if it is not here; waits for it.

        Args:
            where: a file, a folder or a hub id.

        Raises:
            AdapterError: it cannot be read, or does not fit the model.
        """
        file = self._file(where) or self._located(where)
        try:
            key = _key(file)
        except OSError:  # it was moved away, maybe to where `locate` finds it
            file = self._located(where)
            key = self._key_of(file)
        with self._lock:
            found: HostAdapter | None = self._cache.get(key)
            if found is not None:
                return found
            if refusal := self._refusals.get(key):
                raise AdapterError(refusal)
            reading = self._under_way.get(key)
            ours = reading is None
            if reading is None:
                reading = self._under_way[key] = Future()
        if not ours:
            return reading.result()
        try:
            adapter = self._read_packed(file)
            self._cache.put(key, adapter, adapter.size_bytes)
            reading.set_result(adapter)
        except BaseException as error:
            if isinstance(error, AdapterError):  # it would be refused again, after as much reading
                with self._lock:
                    self._refusals[key] = str(error)
            reading.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
        return adapter

    def forget(self, where: str) -> None:
        """Let its memory go, and look for it anew the next time."""
        with self._lock:
            file = self._files.pop(where, None)
        try:
            key = None if file is None else _key(file)
        except OSError:  # it was removed; what there was of it leaves as the least recently used
            return
        self._cache.remove(key)

    def _file(self, where: str) -> Path | None:
        with self._lock:
            file: Path | None = self._files.get(where)
            return file

    def _located(self, where: str) -> Path:
        file = self._locate(where)
        with self._lock:
            self._files[where] = file
        return file

    def _key_of(self, file: Path) -> _FileKey:
        try:
            return _key(file)
        except OSError as error:
            raise AdapterError(f"{file.name}: {error.strerror}") from error

    def _read_packed(self, file: Path) -> HostAdapter:
        started_s = time.monotonic()
        adapter = packed(self._read(file), pinned=self._pinned)
        took_s = time.monotonic() - started_s
        self._read_in(took_s)
        _log.info("read the adapter %s, rank %d, in %.2f s", file.name, adapter.rank, took_s)
        return adapter


def _key(file: Path) -> _FileKey:
    """Another one once the file is replaced or written to."""
    found = file.stat()
    return str(file), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
