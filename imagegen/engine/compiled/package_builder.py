"""Builds packages in the background, one after the other, each in a process of its own."""

from __future__ import annotations

import logging
import pickle
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagegen.engine.compiled.build import JOB, PACKAGE, PROBLEM, Job
from imagegen.engine.compiled.cache_folder import CacheFolder
from imagegen.engine.compiled.package_key import PackageKey
from imagegen.engine.worker.worker_process import start_module

_POLL_S = 0.2  # between two looks at whether the engine is closed

_log = logging.getLogger(__name__)

Build = Callable[[Job, Path, threading.Event], Path]
"""Builds a job's package in a folder and returns its file; ends early, with an exception, once the event is set."""


class BuildError(Exception):
    """A package could not be built."""


@dataclass(frozen=True)
class _Order:
    key: PackageKey
    job: Job
    done: Callable[[Path | None], None]


class PackageBuilder:
    """One thread that builds what is ordered. Safe from any thread.

    Args:
        cache: where packages go. What another process has put there meanwhile is not built again.
        build: builds one; in a process of its own by default.
    """

    def __init__(self, cache: CacheFolder, build: Build | None = None) -> None:
        self._cache = cache
        self._build = build or build_in_process
        self._closed = threading.Event()
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def order(self, key: PackageKey, job: Job, done: Callable[[Path | None], None]) -> None:
        """Have a package built.

        Args:
            key: of the package.
            job: what to build.
            done: called on the builder's thread with its file; with None where it could not be built, which the log
                says.
        """
        self._orders.put(_Order(key, job, done))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="package-builder", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End what is being built, and build nothing more."""
        self._closed.set()
        self._orders.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None and not self._closed.is_set():
            file = None
            try:
                file = self._file(order)
            except Exception as error:
                if not self._closed.is_set():
                    _log.warning("%s is not built, its forwards run eagerly: %s", order.key, error or repr(error))
            order.done(file)

    def _file(self, order: _Order) -> Path:
        with self._cache.turn(order.key, self._closed) as folder:
            file = self._cache.find(order.key)
            if file is not None:
                return file
            _log.info("building the package %s", order.key)
            started_s = time.monotonic()
            file = self._cache.keep(self._build(order.job, folder, self._closed), order.key)
            _log.info("built the package %s in %.0f s", order.key, time.monotonic() - started_s)
            return file


def build_in_process(job: Job, folder: Path, closed: threading.Event) -> Path:
    """See `Build`.

    Raises:
        BuildError: the process failed, or was ended.
        OSError: it could not be started, or there is no room for the job.
    """
    with (folder / JOB).open("wb") as file:
        pickle.dump(job, file)
    process = start_module("imagegen.engine.compiled.build", folder)
    try:
        while True:
            try:
                status = process.wait(_POLL_S)
                break
            except subprocess.TimeoutExpired:
                if closed.is_set():
                    raise BuildError("the engine is closed") from None
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
    if status != 0:
        problem = folder / PROBLEM
        raise BuildError(problem.read_text() if problem.exists() else f"its process ended with status {status}")
    return folder / PACKAGE
