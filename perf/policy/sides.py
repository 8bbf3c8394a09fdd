"""The sides of the comparison, each a process with the packages of a tree, that are given loads in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
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

    def __enter__(self) -> Self:
        self._hear()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, scenario: str, number: int, load: Mapping[str, Any]) -> list[Record]:
        """Have it do a load.

        Args:
            scenario: name of the load.
            number: of the round.
            load: see `perf.policy.side.send`.

        Raises:
            SideError: it has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(dict(load)) + "\n")
        self._process.stdin.flush()
        return [Record(scenario, self.name, number, *row) for row in json.loads(self._hear())]

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SideError(f"{self.name} has ended with status {self._process.wait()}")
        return line
