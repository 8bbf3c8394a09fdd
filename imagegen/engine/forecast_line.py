"""A straight line through the last two computed outputs of a denoiser, by which the next ones are forecast.

It goes over the log-SNR, and what lies on it is the noise in the sample, or the clean image (`noise_place` says which).
What a model predicts instead is turned into it, and back, with the sample of its own call; where that is not possible,
because the output has another shape than the sample, the output itself lies on it.

Nothing is read from the device. An output is copied, for it is a view of that of a whole forward, which would live on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from imagegen.engine.noise_place import Place

_LEAST_DISTANCE = 1e-6  # of two log-SNRs: PNDM computes one place twice


class ForecastLine:
    """Of one call that an image makes at each step.

    Args:
        sample: what the model is to denoise at the call: a tensor, or a list of them.
        sign: -1 for a model whose pipeline takes its output with the sign turned.
    """

    def __init__(self, sample: Any, sign: int = 1) -> None:
        self._shapes = shapes_of(sample)
        self._sign = sign
        self._log_snrs: list[float] = []
        self._values: list[Any] = []  # in the form of the model's outputs; of both lists the last two
        self._dtypes: list[torch.dtype] = []  # of the tensors in an output

    def fits(self, sample: Any) -> bool:
        """Whether a call is one of those of before, as far as its sample shows."""
        return shapes_of(sample) == self._shapes

    def reaches(self, place: Place) -> bool:
        """Whether there is a line, and the place is further along it."""
        return len(self._log_snrs) == 2 and abs(place.log_snr - self._log_snrs[1]) >= _LEAST_DISTANCE

    def add(self, place: Place, sample: Any, output: Any) -> None:
        """Learn from a computed output at a place."""
        samples = _beside(sample, output)
        self._dtypes = [tensor.dtype for tensor in leaves(output)]
        value = mapped(output, lambda tensor: self._value(place, next(samples), tensor))
        if self._log_snrs and abs(place.log_snr - self._log_snrs[-1]) < _LEAST_DISTANCE:
            self._log_snrs[-1], self._values[-1] = place.log_snr, value
            return
        self._log_snrs = [*self._log_snrs[-1:], place.log_snr]
        self._values = [*self._values[-1:], value]

    def output_at(self, place: Place, sample: Any) -> Any:
        """The forecast of the output at a place."""
        before, last = self._log_snrs
        weight = (place.log_snr - before) / (last - before)
        earlier, dtypes = iter(leaves(self._values[0])), iter(self._dtypes)
        samples = _beside(sample, self._values[1])

        def forecast(value: torch.Tensor) -> torch.Tensor:
            return self._output(place, next(samples), torch.lerp(next(earlier), value, weight)).to(next(dtypes))

        return mapped(self._values[1], forecast)

    def _value(self, place: Place, sample: torch.Tensor | None, output: torch.Tensor) -> torch.Tensor:
        if sample is None or not place.of_sample:
            return output.clone()
        value = output.to(torch.float32, copy=True).mul_(self._sign * place.of_output)
        return value.add_(sample, alpha=place.of_sample)

    def _output(self, place: Place, sample: torch.Tensor | None, value: torch.Tensor) -> torch.Tensor:
        if sample is None or not place.of_sample:
            return value
        return value.sub_(sample, alpha=place.of_sample).div_(self._sign * place.of_output)


def leaves(value: Any) -> list[torch.Tensor]:
    """The tensors in a value, those in containers too, in order."""
    found: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    mapped(value, note)
    return found


def shapes_of(value: Any) -> tuple[torch.Size, ...]:
    """Of the tensors in a value."""
    return tuple(tensor.shape for tensor in leaves(value))


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A value whose tensors are changed, those in containers too, in order."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        parts = {name: mapped(part, change) for name, part in value.items()}
        return parts if type(value) is dict else type(value)(**parts)
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(part, change) for part in value)
    return value


def _beside(sample: Any, output: Any) -> Iterator[torch.Tensor | None]:
    """For each tensor of an output the sample that it belongs to; None where there is none of its shape."""
    outputs, samples = leaves(output), leaves(sample)
    if len(samples) != len(outputs):
        return iter([None] * len(outputs))
    return iter([mine if mine.shape == tensor.shape else None for mine, tensor in zip(samples, outputs, strict=True)])
