"""The sides of the comparison, each a process with the packages of a tree, that are given loads in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from perf.policy.side import ENGINE
from perf.summaries import Record

_PROGRAM = Path(__file__).with_name("side.py")
_EXIT_TIMEOUT_S = 30.0


class SideError(Exception):
    """A side does not start, or has ended."""


class Side:
    """One of them, as a context.

    Args:
        name: in records.
        tree: whose packages it has.
        checkpoint: a folder.
        kind: `ENGINE` or `STATIC` of `perf.policy.side`.
        settings: of an engine.

    Raises:
        SideError: on entering, when it does not get ready.
    """

    def __init__(
        self,
        name: str,
        tree: Path,
        checkpoint: Path,
        kind: str = ENGINE,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        path = os.pathsep.join(map(str, (tree, tree / "client")))
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), kind, str(checkpoint), json.dumps(dict(settings or {}))],
            env=os.environ | {"PYTHONPATH": path},
            cwd=tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        try:
            self._hear()
        except SideError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def send(self, scenario: str, number: int, load: Mapping[str, Any]) -> list[Record]:
        """Have it do a load.

        Args:
            scenario: name of the load.
            number: of the round.
            load: see `perf.policy.side.send`.

        Raises:
            SideError: it has ended.
        """
        self._stdin.write(json.dumps(dict(load)) + "\n")
        self._stdin.flush()
        return [Record(scenario, self.name, number, *row) for row in json.loads(self._hear())]

    def _hear(self) -> str:
        line = self._stdout.readline()
        if not line:
            raise SideError(f"{self.name} has ended with status {self._process.wait()}")
        return line
