"""The arguments of `Engine.generate` and its siblings, checked by the rules of the server."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.limits import RequestLimits
from imagegen.api.request import ImageRequest, parse_partial_images, parse_request
from imagegen.api.tensors import Pixels

_TEXT_LISTS = ("lora", "control_type")
_NUMBER_LISTS = ("lora_scale", "control_scale", "control_end")
_TEXTS = ("prompt", "negative_prompt", "scheduler", "step_cache")
_INTEGERS = ("n", "num_inference_steps", "timeout_ms", "partial_images")
_NUMBERS = ("guidance_scale", "strength")


class GenerationOptions(TypedDict, total=False):
    """What a request may say besides its prompt. Each may be left out, or None; docs/engine.md explains them.

    The ranges are those of the public tensors of the same name (docs/api.md).

    Attributes:
        negative_prompt: what shall not be in the image.
        images: uint8 RGB [H, W, 3] or [N, H, W, 3] to start from; N is 1 or n.
        mask: uint8 [H, W] of the images' size, 255 = repaint; needs images.
        references: uint8 RGB [H, W, 3], one or a list of them, of any sizes; all of them condition every image.
        controls: uint8 RGB [H, W, 3], or [C, H, W, 3] for several, which the image follows; scaled to its size.
        control_type: what each control shows, of the types that the model offers; may be left out where it has one.
        control_scale: how strongly each counts, 0..2; 1 unless given.
        control_end: until which part of the steps each counts, above 0, up to 1; 1 unless given.
        n: number of images, 1 unless given.
        size: (width, height) in pixels, or "WxH"; the model's native size, or that of the images, unless given.
        num_inference_steps: the model's own unless given.
        guidance_scale: the model's own unless given; 0 is a value.
        strength: how far to move away from the images, above 0 and up to 1.
        scheduler: public name of a scheduler that fits the model.
        step_cache: off, fine, balanced or fast: how many steps take a forecast instead of running the denoiser; the
            deployment's own unless given.
        lora: names of adapters that the engine knows, one or several, each once.
        lora_scale: how strongly each of them counts, -4..4; 1 unless given.
        seed: one value (image i gets seed + i), or one for each image; random unless given.
        timeout_ms: deadline of the whole request, counted from the call.
        partial_images: previews of each image in a stream, 0..3.
        request_id: by which `Engine.cancel` finds the request; need not be unique.
    """

    negative_prompt: str | None
    images: Pixels | None
    mask: Pixels | None
    references: Pixels | Sequence[Pixels] | None
    controls: Pixels | None
    control_type: str | Sequence[str] | None
    control_scale: float | Sequence[float] | None
    control_end: float | Sequence[float] | None
    n: int | None
    size: tuple[int, int] | str | None
    num_inference_steps: int | None
    guidance_scale: float | None
    strength: float | None
    scheduler: str | None
    step_cache: str | None
    lora: str | Sequence[str] | None
    lora_scale: float | Sequence[float] | None
    seed: int | Sequence[int] | None
    timeout_ms: int | None
    partial_images: int | None
    request_id: str | None


def parse_options(
    prompt: str, options: GenerationOptions, limits: RequestLimits, granularity_px: int
) -> tuple[ImageRequest, InputImages, int]:
    """Check the arguments of a request.

    Args:
        prompt: the text.
        options: the other arguments.
        limits: what is allowed.
        granularity_px: both sides of `size` are multiples of this.

    Returns:
        the request, its input images, and how many previews of each image are asked for.

    Raises:
        InvalidArgument: names the argument, its value and what is allowed.
    """
    for name in options:
        if name not in GenerationOptions.__annotations__:
            raise InvalidArgument(
                name, "no such argument; arguments are " + ", ".join(GenerationOptions.__annotations__)
            )
    given = {"prompt": prompt} | {name: value for name, value in options.items() if value is not None}
    images = InputImages(
        _pixels("image", given.pop("images", None), 4),
        _pixels("mask", given.pop("mask", None), 3),
        _references(given.pop("references", None)),
        _pixels("control_image", given.pop("controls", None), 4),
    )
    given.pop("request_id", None)
    arrays = {name: _array(name, value) for name, value in given.items()}
    previews = parse_partial_images(arrays)
    arrays.pop("partial_images", None)
    request = parse_request(arrays, limits, granularity_px=granularity_px, given=images)
    return request, images, previews


def _array(name: str, value: Any) -> npt.NDArray[Any]:
    """A value in the form of its public tensor, but with Python's own numbers, which have no bounds."""
    if name in _TEXTS and not isinstance(value, str):
        raise InvalidArgument(name, f"{type(value).__name__}; it is a text")
    if name == "size" and not isinstance(value, str):
        value = "x".join(str(_integer(name, side)) for side in _items(name, value, "(width, height) or a text"))
    if name in _INTEGERS:
        value = _integer(name, value)
    if name in _NUMBERS:
        return np.array([_number(name, value)])
    if name in _TEXT_LISTS:
        names = [value] if isinstance(value, str) else _items(name, value, "one name or several")
        if wrong := next((type(one).__name__ for one in names if not isinstance(one, str)), None):
            raise InvalidArgument(name, f"{wrong}; it is one name or several")
        return np.array(names, dtype=np.object_)
    if name in _NUMBER_LISTS:
        scales = [value] if isinstance(value, int | float | np.number) else _items(name, value, "one number or several")
        return np.array([_number(name, scale) for scale in scales])
    if name == "seed":
        seeds = [value] if isinstance(value, int | np.integer) else _items(name, value, "one whole number or several")
        return np.array([_integer(name, seed) for seed in seeds], dtype=np.object_)
    return np.array([value], dtype=np.object_)


def _references(value: Any) -> tuple[Pixels, ...]:
    """One reference or several, each uint8 [H, W, 3]."""
    if value is None:
        return ()
    several = value if isinstance(value, (list, tuple)) or np.ndim(value) == 4 else [value]
    found = tuple(_pixels("reference_image", each, 4) for each in several)
    return tuple(pixels[0] for pixels in found if pixels is not None)


def _items(name: str, value: Any, allowed: str) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise InvalidArgument(name, f"{type(value).__name__}; it is {allowed}") from None


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidArgument(name, f"{type(value).__name__}; it is a whole number") from None


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidArgument(name, f"{type(value).__name__}; it is a number") from None


def _pixels(name: str, value: Any, dimensions: int) -> Pixels | None:
    """uint8 with as many dimensions; the first may be left out."""
    if value is None:
        return None
    try:
        pixels = np.asarray(value)
    except ValueError:  # numpy's words for it name no argument
        raise InvalidArgument(name, "several of different sizes; one size is allowed") from None
    if pixels.ndim == dimensions - 1:
        pixels = pixels[None]
    fits = len(pixels) == 1 if name == "mask" and pixels.ndim else pixels.shape[-1:] == (3,)
    if pixels.dtype != np.uint8 or pixels.ndim != dimensions or not fits:
        allowed = "[H, W]" if name == "mask" else "[H, W, 3] or [N, H, W, 3]"
        raise InvalidArgument(name, f"{pixels.dtype} {list(pixels.shape)}; uint8 {allowed} is allowed")
    return pixels
