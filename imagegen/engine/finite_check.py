"""Finds values that are not finite numbers, which would end as black pixels in an image that looks like a success.

What an image is made of is looked at on its device, in three places: what the first denoiser call is given (text
embeddings, encoded images), the latents that the VAE decodes, and what it decodes them to. What was found is read
together with the image.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch

from imagegen.api.errors import NonFinite
from imagegen.engine.collate import DenoiserCall
from imagegen.engine.module_proxy import ModuleProxy, unwrapped
from imagegen.engine.transfer import receive

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
        self._flags: list[tuple[str, torch.Tensor]] = []  # by stage, in order, bool [] on the device
        self._decoded = False
        self.warnings: list[str] = []
        self.stages: list[str] = []

    def called(self, call: DenoiserCall) -> None:
        """The first denoiser call is about to be made; nothing is waited for."""
        self._look(ENCODE, (*call.args, *call.given.values()))

    def decode(self, vae: Any, latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """What `vae.decode` gives for these arguments; computed again in float32 if the VAE alone is at fault.

        Only in float16 can that help, whose range is smaller: there the image's run waits for what was found.

        Raises:
            NonFinite: in float16 the latents, or the decoded image in float32 too, are not finite.
        """
        self._decoded = True
        decoded = vae.decode(latents, *args, **kwargs)
        self._look(DENOISE, latents)
        self._look(DECODE, decoded)
        if vae.dtype != torch.float16:
            return decoded
        stage = self._first_stage(receive(self.flags())[0])
        self._flags.clear()
        if stage == DECODE:
            again = _in_float32(vae).decode(latents.float(), *args, **kwargs)
            self._look(DECODE, again)
            if bool(receive(self.flags())[0].all()):
                self.stages.append(DECODE)
                self.warnings.append(f"the VAE overflows in {_name(vae.dtype)}; the image was decoded in float32")
                decoded = again
            else:
                self._found(stage)
            self._flags.clear()
        elif stage is not None:
            self._found(stage)
        return decoded

    def finished(self, image: torch.Tensor) -> None:
        """The image is there, [3, H, W]; of a pipeline without a VAE it has not been looked at yet."""
        if not self._decoded:
            self._look(DENOISE, image)

    def flags(self) -> torch.Tensor:
        """What is to be read with the image: bool [number of looks], on the device; True is finite."""
        return torch.stack([flag for _, flag in self._flags]) if self._flags else torch.empty(0, dtype=torch.bool)

    def read(self, flags: torch.Tensor) -> None:
        """Judge the image by its flags, which have come to the host.

        Raises:
            NonFinite: something is not finite.
        """
        stage = self._first_stage(flags)
        if stage is not None:
            self._found(stage)

    def _look(self, stage: str, value: Any) -> None:
        """Look at the floating-point tensors in a value, containers included, that are on the model's device."""
        tensors = [tensor for tensor in _tensors(value) if tensor.is_floating_point()]
        there = [tensor for tensor in tensors if not tensor.is_cpu] or tensors  # beside those: timesteps
        flags = [tensor.isfinite().all() for tensor in there]
        if flags:
            self._flags.append((stage, flags[0] if len(flags) == 1 else torch.stack(flags).all()))

    def _first_stage(self, finite: torch.Tensor) -> str | None:
        """The first stage whose flag is down."""
        pairs = zip(self._flags, finite.tolist(), strict=True)
        return next((stage for (stage, _), good in pairs if not good), None)

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
