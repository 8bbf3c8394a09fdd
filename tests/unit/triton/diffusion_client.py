"""A client of the diffusion model for tests: its request, and the response that it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.unit.tiny_engine import TIMEOUT_S

Array = npt.NDArray[Any]

_TYPES = {"guidance_scale": np.float32, "strength": np.float32, "seed": np.int64}


class DiffusionClient:
    """A request as Triton gives it to the diffusion model, and what came back.

    Attributes:
        disconnected: set when the client has disconnected.
        asked: set once it was asked whether the client has.
    """

    def __init__(self, request_id: str = "", **values: Any) -> None:
        self.request_id = request_id
        self.disconnected = threading.Event()
        self.asked = threading.Event()
        self.results: list[Mapping[str, Array]] = []
        self.errors: list[BaseException] = []
        self._responded = threading.Event()
        self._values = {"prompt": "a red cat", **values}

    def arrays(self) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        for name, value in self._values.items():
            if isinstance(value, str):
                arrays[name] = np.array([value.encode()], dtype=np.object_)
            elif isinstance(value, np.ndarray):
                arrays[name] = value
            elif value is not None:
                arrays[name] = np.atleast_1d(np.array(value, dtype=_TYPES.get(name, np.int32)))
        return arrays

    def is_cancelled(self) -> bool:
        self.asked.set()
        return self.disconnected.is_set()

    def send(self, arrays: Mapping[str, Array]) -> None:
        self.results.append(arrays)
        self._responded.set()

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self._responded.set()

    @property
    def has_response(self) -> bool:
        return self._responded.is_set()

    def outputs(self) -> Mapping[str, Array]:
        """The output arrays; raises the error there is instead."""
        assert self._responded.wait(TIMEOUT_S)
        if self.errors:
            raise self.errors[0]
        assert len(self.results) == 1
        return self.results[0]

    def frames(self) -> npt.NDArray[np.uint8]:
        return self.outputs()["frames"]

    def report(self) -> dict[str, Any]:
        report = json.loads(self.outputs()["diffusion_report"][0])
        assert isinstance(report, dict)
        return report

    def error(self) -> BaseException:
        """The one error there was."""
        assert self._responded.wait(TIMEOUT_S)
        assert not self.results
        assert len(self.errors) == 1
        return self.errors[0]
