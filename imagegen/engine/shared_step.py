"""Does scheduler steps of several images as one, where that gives each of them the same bits.

A scheduler computes elementwise, so images whose schedulers have the same numbers can be put beneath each other: the
launches of one step are then those of all. Such are the images of one request, and requests that began together.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Hashable, Sequence
from functools import wraps
from typing import Any, Protocol

import greenlet
import numpy as np
import torch

from imagegen.engine.host_tensor import plain

_SCHEDULE = "_schedule_of_image"
_WATCHER = "_watcher_of_image"
_OF_IMAGE = ("step", _WATCHER)  # of one object where its image is followed; the first by `imagegen.pipelines.steps`
_GENERATOR = "generator"  # of the image's seed; schedulers take one for each row
_MOST_NUMBERS = 16  # of a tensor that the host looks at in a step, as a list of past timesteps
_PLAIN = (type(None), bool, int, float, str)


class StepCall:
    """One step of one image's scheduler.

    Args:
        step: the scheduler's method, as a function.
        scheduler: of one image.
        tensors: the model's output and the sample, [1, ...] both.
        timestep: of the step.
        options: further keyword arguments.
    """

    def __init__(
        self,
        step: Any,
        scheduler: Any,
        tensors: tuple[torch.Tensor, torch.Tensor],
        timestep: Any,
        options: dict[str, Any],
    ) -> None:
        self._step = step
        self._scheduler = scheduler
        self._output, self._sample = tensors
        self._timestep = timestep
        self._options = options

    @property
    def kind(self) -> str:
        """The scheduler's class."""
        return type(self._scheduler).__name__

    @property
    def outline(self) -> Hashable:
        """The part of the key by which most calls of requests that began at different times differ."""
        schedule = vars(self._scheduler).get(_SCHEDULE)
        if schedule is None or self._sample.shape[0] != 1:
            return object()
        try:
            return schedule.digest, self._part("timestep", self._timestep)
        except _NotShared:
            return object()

    @property
    def key(self) -> Hashable:
        """Calls of equal key can be done as one: all that they compute with is equal, samples and seeds aside."""
        outline, schedule = self.outline, vars(self._scheduler).get(_SCHEDULE)
        if schedule is None:
            return outline
        asked = {"model_output": self._output, "sample": self._sample} | self._options
        try:
            parts = (asked | schedule.state_of(self._scheduler)).items()
            return outline, *(self._part(name, value) for name, value in parts)
        except _NotShared:
            return object()

    def alone(self) -> Any:
        """Do it by itself; the step's result."""
        return self._step(self._scheduler, self._output, self._timestep, self._sample, **self._options)

    def together(self, calls: Sequence[StepCall]) -> list[Any]:
        """Do calls of one key, of which this is the first; the results in order.

        Where it raises, schedulers and generators are as they were.
        """
        lead = copy.copy(self._scheduler)
        schedule = vars(lead)[_SCHEDULE]
        for name in schedule.state_of(lead):
            vars(lead)[name] = self._merged([vars(call._scheduler)[name] for call in calls])
        options = dict(self._options)
        generators: list[torch.Generator] = []
        if options.get(_GENERATOR) is not None:
            options[_GENERATOR] = generators = [call._options[_GENERATOR] for call in calls]
        before = [generator.get_state() for generator in generators]
        try:
            output, sample = (torch.cat([getattr(call, name) for call in calls]) for name in ("_output", "_sample"))
            result = self._step(lead, output, self._timestep, sample, **options)
        except Exception:
            for generator, state in zip(generators, before, strict=True):
                generator.set_state(state)
            raise
        changed = schedule.state_of(lead)
        for index, call in enumerate(calls):
            vars(call._scheduler).update({name: call._row(value, index) for name, value in changed.items()})
        return [call._result(result, index) for index, call in enumerate(calls)]

    def _part(self, name: str, value: Any) -> Hashable:
        """What of a value has to be equal."""
        if isinstance(value, _PLAIN):
            return name, type(value), value
        if isinstance(value, torch.Tensor):
            if value.shape == self._sample.shape and value.device == self._sample.device:
                return name, value.dtype, value.shape
            if value.is_cpu and value.ndim <= 1 and value.numel() <= _MOST_NUMBERS:
                return name, value.dtype, str(value.tolist())  # text, for NaN equals itself there
        if isinstance(value, (list, tuple)):
            return name, type(value), tuple(self._part("", part) for part in value)
        if name == _GENERATOR and isinstance(value, torch.Generator):
            return name
        raise _NotShared

    def _merged(self, values: list[Any]) -> Any:
        first = values[0]
        if isinstance(first, (list, tuple)):
            return type(first)(self._merged(list(parts)) for parts in zip(*values, strict=True))
        if isinstance(first, torch.Tensor) and first.shape == self._sample.shape:
            return torch.cat(values)
        return first

    def _row(self, value: Any, index: int) -> Any:
        """One image's part of what was computed for several."""
        if isinstance(value, (list, tuple)):
            return type(value)(self._row(part, index) for part in value)
        if isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[1:] == self._sample.shape[1:]:
            return value[index : index + 1]
        return value

    def _result(self, result: Any, index: int) -> Any:
        if isinstance(result, tuple):
            return self._row(result, index)
        return type(result)(**{name: self._row(value, index) for name, value in result.items()})


class _NotShared(Exception):
    """A value that nobody knows how to share."""


class _Schedule:
    """What a scheduler has from its configuration and number of steps, which no step changes."""

    def __init__(self, scheduler: Any) -> None:
        self._values = {
            name: value
            for name, value in vars(scheduler).items()
            if name == "_internal_dict" or isinstance(value, np.ndarray) or (torch.is_tensor(value) and value.is_cpu)
        }
        digest = hashlib.sha256(repr((type(scheduler), sorted(scheduler.config.items()))).encode())
        for name, value in self._values.items():
            if name != "_internal_dict":
                array = np.asarray(value)
                digest.update(f"{name} {array.dtype} {array.shape}".encode())
                digest.update(array.tobytes())
        self.digest = digest.digest()

    def state_of(self, scheduler: Any) -> dict[str, Any]:
        """What a scheduler has beside it: what steps change, and no method that somebody who follows one image set."""
        values = self._values
        return {
            name: value
            for name, value in vars(scheduler).items()
            if name not in _OF_IMAGE and value is not self and (value is None or values.get(name) is not value)
        }


def remembering_schedule(set_timesteps: Any) -> Any:
    """A scheduler's `set_timesteps` that notes what all images of this schedule have in common."""

    @wraps(set_timesteps)
    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = set_timesteps(self, *args, **kwargs)
        vars(self)[_SCHEDULE] = _Schedule(self)
        return result

    return noted


class StepWatcher(Protocol):
    """Is told of the steps of one image."""

    def stepped(self, scheduler: Any, timestep: Any) -> None:
        """The image's scheduler is about to do this step."""


def watch_steps(scheduler: Any, watcher: StepWatcher) -> None:
    """Have a watcher told of each step of one image's scheduler, whose class shares its steps."""
    vars(scheduler)[_WATCHER] = watcher


def sharing(step: Any) -> Any:
    """A scheduler's `step` that an executor's run does together with others, where there are any."""

    @wraps(step)
    def shared(self: Any, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        timestep = plain(timestep)  # else whatever is computed from it takes a detour, twenty times a step
        watcher = vars(self).get(_WATCHER)
        if watcher is not None:
            watcher.stepped(self, timestep)
        share = getattr(greenlet.getcurrent(), "share", None)
        if share is None or args:
            return step(self, model_output, timestep, sample, *args, **kwargs)
        return share(StepCall(step, self, (model_output, sample), timestep, kwargs))

    return shared
