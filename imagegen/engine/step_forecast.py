"""Forecasts the denoiser's output at the steps of one image that a cadence leaves out, from its own earlier outputs.

    StepForecast          of an image: which step it is at; its scheduler tells it of each step
      ├─ CallForecast     of a denoiser: a `ForecastLine` for each of its calls in a step
      └─ ControlForecast  of a ControlNet, whose output nobody reads at such a step

The state belongs to the image, so that images of all kinds share forwards. Nothing is read from the device.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from imagegen.engine.family_rules import NEGATED
from imagegen.engine.forecast_line import ForecastLine, mapped, shapes_of
from imagegen.engine.noise_place import Place, first_index, place_of
from imagegen.pipelines.step_cadence import is_computed


class StepForecast:
    """Follows one image's loop and says at each call whether it is computed.

    Args:
        interval: one of so many steps is computed; see `imagegen.pipelines.step_cadence`.

    Attributes:
        place: of the step that goes on; None for the first one, from which nothing is ever forecast.
        control_left_out: whether a ControlNet's call of the step that goes on was.
        computed_steps: steps, of those that are done, whose denoiser calls were computed.
        forecast_steps: the others.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._number = self._index = self._total = 0
        self._denoisers: list[CallForecast] = []
        self._controls: list[ControlForecast] = []
        self._left_out = False  # whether a call of this step was
        self.place: Place | None = None
        self.control_left_out = False
        self.computed_steps = self.forecast_steps = 0

    def of_module(self, name: str, module: Any) -> CallForecast | ControlForecast:
        """For the calls of a denoiser of the image, by its name in the pipeline.

        It does not keep this object alive, which has a reference to it: a cycle would keep latents until garbage is
        collected.
        """
        if name == "controlnet":
            self._controls.append(ControlForecast(weakref.proxy(self)))
            return self._controls[-1]
        self._denoisers.append(CallForecast(weakref.proxy(self), -1 if type(module).__name__ in NEGATED else 1))
        return self._denoisers[-1]

    def leaves_out(self) -> bool:
        """Whether the step that goes on is to be forecast, and can be."""
        place = self.place
        if place is None or is_computed(self._number, self._total, self._interval):
            return False
        return bool(self._denoisers) and all(denoiser.can_forecast(place) for denoiser in self._denoisers)

    def left_out(self, control: bool = False) -> None:
        """A call of the step that goes on was not made."""
        self._left_out = True
        self.control_left_out = self.control_left_out or control

    def stepped(self, scheduler: Any, timestep: Any) -> None:
        """The image's scheduler is about to do a step with what the denoiser gave."""
        if not self._number:
            self._index = first_index(scheduler, timestep)
            self._total = len(scheduler.timesteps) - self._index
        if self._left_out:
            self.forecast_steps += 1
        else:
            self.computed_steps += 1
        self._left_out = self.control_left_out = False
        for denoiser in self._denoisers:
            denoiser.begin_step()
        for control in self._controls:
            control.begin_step()
        self._number += 1
        following = self._index + self._number
        self.place = place_of(scheduler, following) if following < len(scheduler.timesteps) else None


class CallForecast:
    """Forecasts the calls of a denoiser, each from what the same call gave in earlier steps.

    Args:
        image: whose loop it is.
        sign: -1 for a model whose pipeline takes its output with the sign turned.
    """

    def __init__(self, image: StepForecast, sign: int) -> None:
        self._image = image
        self._sign = sign
        self._number = 0  # of the next call within the step
        self._lines: dict[tuple[int, str], ForecastLine] = {}  # by that, and the name of the call's cache context

    def begin_step(self) -> None:
        """The next call is the first one of a step."""
        self._number = 0

    def can_forecast(self, place: Place) -> bool:
        """Whether it has what it needs for the calls of a step."""
        return bool(self._lines) and all(line.reaches(place) for line in self._lines.values())

    def output(self, name: str, sample: Any, compute: Callable[[], Any]) -> Any:
        """The output of a call, forecast or computed.

        Args:
            name: of the call's cache context.
            sample: what the model is to denoise: a tensor, or a list of them.
            compute: makes the call.

        Raises:
            RuntimeError: the step's ControlNet was left out, and now the denoiser is called in another way than before.
        """
        key = self._number, name
        self._number += 1
        place, line = self._image.place, self._lines.get(key)
        if line is not None and not line.fits(sample):
            line = None
        if place is not None and line is not None and self._image.leaves_out():
            self._image.left_out()
            return line.output_at(place, sample)
        if self._image.control_left_out:
            raise RuntimeError("the denoiser's calls changed in the middle of the loop; send it with step_cache off")
        output = compute()
        if place is not None:
            if line is None:
                line = self._lines[key] = ForecastLine(sample, self._sign)
            line.add(place, sample, output)
        return output


class ControlForecast:
    """Leaves out the calls of a ControlNet at steps whose denoiser calls are forecast.

    Args:
        image: whose loop it is.
    """

    def __init__(self, image: StepForecast) -> None:
        self._image = image
        self._number = 0  # of the next call within the step
        self._zeros: dict[int, tuple[Any, Any]] = {}  # by that: the sample's shapes, and zeros

    def begin_step(self) -> None:
        """The next call is the first one of a step."""
        self._number = 0

    def output(self, name: str, sample: Any, compute: Callable[[], Any]) -> Any:
        """The output of a call, or zeros of its shapes; arguments as of `CallForecast.output`.

        The zeros of lists take no memory. Those outside can be written to: MultiControlNetModel adds what further
        networks hand over to the first one's middle block.
        """
        number, shapes = self._number, shapes_of(sample)
        self._number += 1
        known = self._zeros.get(number)
        if known is not None and known[0] == shapes and self._image.leaves_out():
            self._image.left_out(control=True)
            return _writable(known[1])
        output = compute()
        if known is None or known[0] != shapes:
            self._zeros[number] = shapes, mapped(output, lambda tensor: tensor.new_zeros(()).expand(tensor.shape))
        return output


def _writable(zeros: Any) -> Any:
    """The zeros of an output; those that are in no list or tuple of it as tensors of their own."""
    if not isinstance(zeros, tuple):
        return zeros
    return tuple(torch.zeros_like(each) if isinstance(each, torch.Tensor) else each for each in zeros)
