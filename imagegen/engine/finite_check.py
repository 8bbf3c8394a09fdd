"""Finds values that are not finite numbers, which would end as black pixels in an image that looks like a success.

What an image is made of is looked at on its device, in three places: what the first denoiser call is given (text
embeddings, encoded images), the latents that the VAE decodes, and what it decodes them to. The device is waited for
once an image, behind its decode.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch

from imagegen.api.errors import NonFinite
from imagegen.engine.collate import DenoiserCall
from imagegen.engine.module_proxy import ModuleProxy, unwrapped

ENCODE, DENOISE, DECODE = "encode", "denoise", "decode"

_CAUSES = {
    ENCODE: "a text encoder, or the VAE of an input image, overflows in half precision",
    DENOISE: "a scheduler that cannot do this number of steps, an overflow in half precision, or weights that do not"
    " belong to the model",
    DECODE: "the VAE's weights are damaged",
}


class FiniteCheck:
    """Looks at what one image is made of. On the device thread.

    Args:
        tolerate: whether an image is handed over with a warning, instead of failing with `NonFinite`.

    Attributes:
        warnings: for the client.
        stages: where something was found, also if it could be mended: ENCODE, DENOISE or DECODE.
    """

    def __init__(self, tolerate: bool) -> None:
        self._tolerate = tolerate
        self._conditions: torch.Tensor | None = None
        self._decoded = False
        self.warnings: list[str] = []
        self.stages: list[str] = []

    def called(self, call: DenoiserCall) -> None:
        """The first denoiser call is about to be made; nothing is waited for."""
        self._conditions = _all_finite((*call.args, *call.given.values()))

    def decode(self, vae: Any, latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """What `vae.decode` gives for these arguments; computed again in float32 if the VAE alone is at fault.

        Raises:
            NonFinite: the latents, or the decoded image in float32 too, are not finite.
        """
        self._decoded = True
        decoded = vae.decode(latents, *args, **kwargs)
        stage = self._first_stage([(DENOISE, _all_finite(latents)), (DECODE, _all_finite(decoded))])
        if stage is None:
            return decoded
        if stage == DECODE and vae.dtype != torch.float32:
            again = _in_float32(vae).decode(latents.float(), *args, **kwargs)
            if bool(_all_finite(again)):
                self.stages.append(DECODE)
                self.warnings.append(f"the VAE overflows in {_name(vae.dtype)}; the image was decoded in float32")
                return again
        self._found(stage)
        return decoded

    def finished(self, image: torch.Tensor) -> None:
        """The image is there, [3, H, W]; of a pipeline without a VAE it has not been looked at yet.

        Raises:
            NonFinite: it is not finite.
        """
        if not self._decoded and (stage := self._first_stage([(DENOISE, _all_finite(image))])) is not None:
            self._found(stage)

    def _first_stage(self, flags: list[tuple[str, torch.Tensor]]) -> str | None:
        """The first stage whose flag is down, the conditions' before those given. Waits for the device."""
        if self._conditions is not None:
            flags = [(ENCODE, self._conditions), *flags]
        finite = torch.stack([flag for _, flag in flags]).tolist()
        return next((stage for (stage, _), good in zip(flags, finite, strict=True) if not good), None)

    def _found(self, stage: str) -> None:
        if not self.stages:  # of an image that is handed over all the same, later stages show nothing new
            self.stages.append(stage)
            error = NonFinite(stage, _CAUSES[stage])
            if not self._tolerate:
                raise error
            self.warnings.append(error.problem)


class CheckedVae(ModuleProxy):
    """Stands in for the VAE of one image's pipeline: what it decodes is looked at.

    Args:
        module: the VAE, maybe behind other proxies.
        check: the image's.
    """

    __slots__ = ("_check",)

    def __init__(self, module: Any, check: FiniteCheck) -> None:
        super().__init__(module)
        self._check = check

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The VAE's own output."""
        return self._module(*args, **kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """See `FiniteCheck.decode`."""
        return self._check.decode(self._module, *args, **kwargs)


def _in_float32(vae: Any) -> Any:
    """A copy of a VAE; not the VAE itself, whose weights others may refer to."""
    return copy.deepcopy(unwrapped(vae)).float()


def _all_finite(value: Any) -> torch.Tensor:
    """Whether all floating-point tensors in a value, containers included, are finite: a bool [] on their device."""
    flags = [tensor.isfinite().all() for tensor in _tensors(value) if tensor.is_floating_point()]
    if not flags:
        return torch.tensor(True)
    return flags[0] if len(flags) == 1 else torch.stack([flag.to(flags[0].device) for flag in flags]).all()


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
