"""The kernels of a tick: one merged forward, and beside it what each request's pipeline and scheduler do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import torch

from imagegen.engine.collate import DenoiserCall, forward
from imagegen.engine.denoiser_proxy import DenoiserProxy
from imagegen.pipelines.denoisers import DENOISERS
from perf.gpu.shapes import Shape
from perf.predict.kernels import Kernel, KernelCount

_META = torch.device("meta")
_DTYPE = torch.bfloat16
_STEPS = 8  # of the loop that is counted: the last one counts, since multistep schedulers begin differently
_TRUE_GUIDANCE = 4.0
_IDS = ("img_ids", "txt_ids")


@dataclass(frozen=True)
class Tick:
    """What a tick computes in which all requests share the forward.

    Attributes:
        requests: at once, one image each.
        calls_per_step: ticks of a step.
        forward: kernels of the merged forward.
        merging: kernels that put the requests' arguments together.
        step: kernels of one request beside the forwards, in a whole step.
        decode: kernels of the VAE for one image.
    """

    requests: int
    calls_per_step: int
    forward: tuple[Kernel, ...]
    merging: tuple[Kernel, ...]
    step: tuple[Kernel, ...]
    decode: tuple[Kernel, ...]

    def total(self, measure: Callable[[Kernel], float]) -> float:
        """The sum of a measure over the kernels of a tick; a step's are spread over its ticks."""
        beside = self.requests * sum(map(measure, self.step)) / self.calls_per_step
        return sum(map(measure, self.forward)) + sum(map(measure, self.merging)) + beside

    @property
    def launches(self) -> float:
        """Kernels of a tick."""
        return self.total(lambda kernel: 1)

    @property
    def flops(self) -> float:
        """Floating-point operations of a tick."""
        return self.total(lambda kernel: kernel.flops)

    @property
    def bytes(self) -> float:
        """That the kernels of a tick read and write."""
        return self.total(lambda kernel: kernel.bytes)


def count_tick(shape: Shape, requests: int, side_px: int) -> Tick:
    """Count the work of a tick, in bfloat16 and without any memory for it.

    Args:
        shape: the model.
        requests: images that are generated at once, all at the same step.
        side_px: their width and height.
    """
    step, call = _step_of_a_request(shape, side_px)
    rows = requests * shape.rows_per_image // shape.calls_per_step
    denoiser, vae = shape.make_denoiser(_META, _DTYPE), shape.make_vae(_META, _DTYPE)
    inputs, latents = shape.inputs(rows, side_px, _META, _DTYPE), shape.latents(1, side_px, _META, _DTYPE)
    return Tick(
        requests,
        shape.calls_per_step,
        forward=_kernels(lambda: denoiser(**inputs)),
        merging=_kernels(lambda: forward([call] * requests)),
        step=step,
        decode=_kernels(lambda: vae.decode(latents)),
    )


def _kernels(compute: Callable[[], object]) -> tuple[Kernel, ...]:
    with torch.no_grad(), KernelCount() as count:  # in inference mode, composite ops would be seen instead of kernels
        compute()
    return tuple(count.kernels)


def _step_of_a_request(shape: Shape, side_px: int) -> tuple[tuple[Kernel, ...], DenoiserCall]:
    """What one request computes in a step beside its denoiser calls, and one of these."""
    count = KernelCount()
    begins: list[int] = []  # of the kernels of each denoiser call
    ends: list[int] = []
    calls: list[DenoiserCall] = []

    def run_call(call: DenoiserCall) -> Any:
        for given in (call.given, call.kwargs):  # real ids lie on the device
            given |= {name: given[name].to(_META) for name in _IDS if name in given}
        begins.append(len(count.kernels))
        calls.append(call)
        [output] = forward([call])
        ends.append(len(count.kernels))
        return output

    pipeline = _pipeline(shape, run_call, side_px)
    arguments = _arguments(shape, side_px, pipeline)
    with torch.no_grad(), count:
        pipeline(**arguments)
    between = list(zip(ends[:-1], begins[1:], strict=True))[-shape.calls_per_step :]
    return tuple(kernel for end, begin in between for kernel in count.kernels[end:begin]), calls[-1]


def _pipeline(shape: Shape, run_call: Callable[[DenoiserCall], Any], side_px: int) -> Any:
    """The model's own pipeline and scheduler on `meta`, without text encoders, whose denoiser computes nothing."""
    shallow = replace(shape, architecture=shape.architecture.cut(1))
    architecture = shallow.architecture
    parts: dict[str, Any] = dict.fromkeys((*architecture.networks, *architecture.tokenizers))
    name = next(name for name in DENOISERS if name in parts)
    denoiser: Any = shallow.make_denoiser(_META, _DTYPE)
    denoiser.forward = _computes_nothing(denoiser.forward)
    parts |= {name: denoiser, "vae": shallow.make_vae(_META, _DTYPE), "scheduler": architecture.scheduler()}
    pipeline = architecture.pipeline(**parts, **architecture.options)
    pipeline.scheduler.set_timesteps = _on_host(pipeline.scheduler.set_timesteps)
    pipeline.__dict__[name] = _Proxy(denoiser, run_call, side_px * side_px)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class _Proxy(DenoiserProxy):
    """The engine's, for arguments without values."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # The engine compares rope ids by content, once an image; on `meta` there is none.
        ids = {name: torch.zeros(value.shape) for name, value in kwargs.items() if name in _IDS}
        return super().__call__(*args, **kwargs | ids)


def _computes_nothing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Of the same signature; its output has the shape of its first argument, as all these denoisers' have."""

    @wraps(original)
    def nothing(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(original).bind(*args, **kwargs).arguments
        return (torch.empty_like(next(iter(bound.values()))),)

    return nothing


def _on_host(set_timesteps: Callable[..., None]) -> Callable[..., None]:
    """With timesteps in the host's memory: schedulers look them up, for which a device would have to synchronise."""

    @wraps(set_timesteps)
    def on_host(*args: Any, **kwargs: Any) -> None:
        set_timesteps(*args, **kwargs | {"device": "cpu"})

    return on_host


def _arguments(shape: Shape, side_px: int, pipeline: Any) -> dict[str, Any]:
    """Of the pipeline's call, with text states instead of a prompt."""
    inputs = shape.inputs(1, side_px, _META, _DTYPE)
    mask = inputs.get("encoder_hidden_states_mask")
    pooled = inputs.get("pooled_projections", inputs.get("added_cond_kwargs", {}).get("text_embeds"))
    texts = {
        "prompt_embeds": inputs["encoder_hidden_states"],
        "pooled_prompt_embeds": pooled,
        "prompt_embeds_mask": None if mask is None else torch.ones(mask.shape, dtype=torch.long),  # its values are read
    }
    if shape.rows_per_image > 1:
        texts |= {f"negative_{name}": value for name, value in texts.items()}
    asked = {
        **texts,
        "latents": inputs.get("sample", inputs.get("hidden_states")),
        "width": side_px,
        "height": side_px,
        "num_inference_steps": _STEPS,
        "true_cfg_scale": _TRUE_GUIDANCE if shape.calls_per_step > 1 else None,
        "output_type": "latent",
    }
    accepted = inspect.signature(pipeline.__call__).parameters
    return {name: value for name, value in asked.items() if value is not None and name in accepted}
