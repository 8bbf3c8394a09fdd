"""Keeps the numbers of an image's scheduler on the host, where reading one waits for nothing.

A scheduler of diffusers computes with a few numbers a step, looked up by timestep. On a device each look-up waits for
all that is queued there, and each number costs a launch. On the host they cost neither: an operation of the device
takes a number of the host, [], along with its launch.
"""

from __future__ import annotations

import copy
import inspect
from functools import cache, wraps
from typing import Any

import torch

from imagegen.engine.host_numbers import HostNumbers, computed
from imagegen.engine.host_tensor import HostTensor
from imagegen.engine.shared_step import remembering_schedule, sharing
from imagegen.engine.transfer import to_device
from imagegen.pipelines.schedulers import CLASS_NAMES

_KNOWN = CLASS_NAMES | {"FlowMatchHeunDiscreteScheduler"}
_HOST = torch.device("cpu")
_NOISERS = ("add_noise", "scale_noise")  # mix an image and noise as a timestep says
_STEPS_WATCHED = 2  # a scheduler that neither makes numbers on the device nor draws noise by then never does


def own_scheduler(scheduler: Any, device: torch.device) -> Any:
    """A copy for one image, whose steps are shared with those of other images where they can be.

    Beside a device other than the CPU its tables, timesteps and numbers stay on the host. Both is so for the classes
    whose arithmetic is known (a test steps each of them); another one is left as it is.

    Args:
        scheduler: any of diffusers' schedulers; stays as it is.
        device: where latents are.
    """
    own = copy.deepcopy(scheduler)  # not from_config: it drops what the pipeline patched at load
    kind: Any = type(own)
    if kind.__name__ in _KNOWN:
        own.__class__ = _subclass(kind, on_host=device.type != "cpu")
    return own


@cache
def _subclass(kind: Any, on_host: bool) -> Any:
    """With the methods that are changed. A class, because a method that is set on the object itself would refer to it:
    a cycle, which would keep latents until garbage is collected."""
    changed: dict[str, Any] = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    set_timesteps, step = kind.set_timesteps, kind.step
    if on_host:
        set_timesteps, step = _timesteps(set_timesteps), _step(step)
        changed |= {name: _noiser(getattr(kind, name)) for name in _NOISERS if hasattr(kind, name)}
    changed |= {"set_timesteps": remembering_schedule(set_timesteps), "step": sharing(step)}
    return type(kind.__name__, (kind,), changed)


def _timesteps(method: Any) -> Any:
    signature = inspect.signature(method)

    @wraps(method)  # pipelines look at the signatures of these methods
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        if "device" in signature.parameters:
            bound.arguments["device"] = _HOST
        result = method(*bound.args, **bound.kwargs)
        if isinstance(self.timesteps, torch.Tensor):
            self.timesteps = self.timesteps.as_subclass(HostTensor)
        return result

    return set_timesteps


def _noiser(method: Any) -> Any:
    signature = inspect.signature(method)
    image_name = next(name for name in signature.parameters if "sample" in name)

    @wraps(method)
    def mix(self: Any, *args: Any, **kwargs: Any) -> Any:
        """The weights of image and noise, found by mixing one with nothing, then the mixture itself."""
        bound = signature.bind(self, *args, **kwargs)
        image, noise = bound.arguments[image_name], bound.arguments["noise"]
        if image.device.type == "cpu":
            return method(*bound.args, **bound.kwargs)
        for name, value in bound.arguments.items():
            if "timestep" in name and isinstance(value, torch.Tensor):
                bound.arguments[name] = value.to(_HOST)
        weights = []
        for of_image in (1, 0):
            shape = (len(image), *(1 for _ in image.shape[1:]))
            bound.arguments[image_name] = torch.full(shape, of_image, dtype=image.dtype)
            bound.arguments["noise"] = torch.full(shape, 1 - of_image, dtype=noise.dtype)
            weight = method(*bound.args, **bound.kwargs)
            weights.append(weight.reshape(()) if weight.numel() == 1 else to_device(weight, image.device))
        return image * weights[0] + noise * weights[1]

    return mix


def _step(method: Any) -> Any:
    @wraps(method)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        watched = self.__dict__.get("_steps_watched", 0)
        if watched >= _STEPS_WATCHED:
            return method(self, *args, **kwargs)
        with HostNumbers() as numbers:
            result = method(self, *args, **kwargs)
        for name, value in vars(self).items():
            self.__dict__[name] = computed(value)
        self._steps_watched = 0 if numbers.needed else watched + 1
        if isinstance(result, tuple):
            return computed(result)
        return type(result)(**{name: computed(value) for name, value in result.items()})

    return step
