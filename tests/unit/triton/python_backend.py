"""Stands in for Triton's `triton_python_backend_utils`, which exists only inside a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


class TritonError:
    """An error with one of Triton's codes."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: npt.NDArray[Any]) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> npt.NDArray[Any]:
        return self._array


class InferenceResponse:
    """Output tensors or an error."""

    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self._tensors, self._error = list(output_tensors), error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class InferenceRequest:
    """A request to another model. `respond` decides on the response; the requests are kept in `sent`."""

    sent: list[InferenceRequest] = []  # noqa: RUF012 (emptied by the fixture)
    respond: Callable[[InferenceRequest], InferenceResponse] = staticmethod(lambda request: InferenceResponse())

    def __init__(
        self, model_name: str, request_id: str, inputs: Sequence[Tensor], requested_output_names: Sequence[str]
    ) -> None:
        self.model_name, self._request_id = model_name, request_id
        self._inputs, self.outputs = list(inputs), list(requested_output_names)

    def request_id(self) -> str:
        return self._request_id

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def exec(self) -> InferenceResponse:
        InferenceRequest.sent.append(self)
        return InferenceRequest.respond(self)


class MetricFamily:
    """A family of Triton's custom metrics, which keeps what is made of it."""

    COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

    def __init__(self, name: str, description: str, kind: str) -> None:
        self.name, self.description, self.kind = name, description, kind
        self.made: list[dict[str, Any]] = []

    def Metric(self, **arguments: Any) -> MetricFamily:
        self.made.append(arguments)
        return self


class Sender:
    """Keeps the parts of a response with their flags."""

    def __init__(self) -> None:
        self.sent: list[tuple[InferenceResponse | None, int]] = []
        self.cancelled = False
        self.failures: list[Exception] = []

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        if self.failures:
            raise self.failures.pop()
        self.sent.append((response, flags))

    def is_cancelled(self) -> bool:
        assert not (self.sent and self.sent[-1][1]), "to ask after the last part crashes Triton 24.10"
        return self.cancelled


class Request:
    """A request as `execute` gets it."""

    def __init__(
        self, request_id: str = "", outputs: Sequence[str] = (), parameters: str = "", **inputs: npt.NDArray[Any]
    ) -> None:
        self.sender = Sender()
        self._request_id, self._outputs, self._parameters = request_id, outputs, parameters
        self._inputs = [Tensor(name, array) for name, array in inputs.items()]

    def request_id(self) -> str:
        return self._request_id

    def get_response_sender(self) -> Sender:
        return self.sender

    def parameters(self) -> str:
        return self._parameters

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def requested_output_names(self) -> Sequence[str]:
        return self._outputs


def with_parameters(**parameters: Any) -> Request:
    """A request that carries Triton parameters."""
    return Request(parameters=json.dumps(parameters))


def prompt(text: str = "a cat") -> npt.NDArray[np.object_]:
    """The input `prompt`."""
    return np.array([text.encode()], dtype=np.object_)
