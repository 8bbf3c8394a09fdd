"""The public request: arrays as Triton delivers them in, one frozen, validated `ImageRequest` out.

Parsed once at the edge of each model, trusted afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imagegen.api import limits, tensors, values
from imagegen.api.controls import ControlChoice, parse_controls
from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.limits import RequestLimits, check_size
from imagegen.api.loras import LoraChoice, parse_loras
from imagegen.api.tensors import Arrays

_SIZE = re.compile(r"([0-9]{1,9})x([0-9]{1,9})", re.ASCII)
_SIZE_MEANT = re.compile(
    r"[\s(\[]*(\d{1,9})\s*(?:px)?(?:\s*(?:[x×✕*,;:/]|by|\s)\s*(\d{1,9})\s*(?:px)?)?[\s)\]]*", re.IGNORECASE
)
_TABLE = {tensor.name: tensor for tensor in tensors.INPUTS}


@dataclass(frozen=True)
class OutputChoice:
    """How the images are to be handed over.

    Attributes:
        output_format: one of `tensors.OUTPUT_FORMATS`.
        output_compression: 0..100, or None when absent.
        response_format: one of `tensors.RESPONSE_FORMATS`.
        user: opaque id, or None.
        return_control: whether the control images are to be handed over too, as they were used.
    """

    output_format: str = "png"
    output_compression: int | None = None
    response_format: str = "bytes"
    user: str | None = None
    return_control: bool = False


@dataclass(frozen=True)
class ImageRequest:
    """What a client asked for. None means that the input was absent.

    Attributes:
        prompt: 1..32000 characters.
        negative_prompt: 0..32000 characters.
        images: the encoded or referenced input images, still as bytes; empty for text-to-image.
        mask: the encoded or referenced mask, still as bytes.
        references: the encoded or referenced reference images, still as bytes.
        control_images: the encoded or referenced control images, still as bytes.
        controls: what each control is; one for each control image.
        control_preprocess: whether control images are yet to be made of the given ones.
        n: number of images, 1..10.
        size: (width, height) in pixels; None for "auto".
        num_inference_steps: 1 or more.
        guidance_scale: finite, 0 or more.
        strength: in (0, 1]; None when absent.
        scheduler: one of `tensors.SCHEDULERS`.
        step_cache: one of `tensors.STEP_CACHES`.
        loras: the adapters to apply, each once; empty for none.
        timeout_ms: 1 or more.
        seeds: empty for random, one value, or n values, each 0..2^63-1.
        output: how the images are to be handed over.
    """

    prompt: str
    negative_prompt: str | None = None
    images: tuple[bytes, ...] = ()
    mask: bytes | None = None
    references: tuple[bytes, ...] = ()
    control_images: tuple[bytes, ...] = ()
    controls: tuple[ControlChoice, ...] = ()
    control_preprocess: bool = False
    n: int = 1
    size: tuple[int, int] | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    strength: float | None = None
    scheduler: str | None = None
    step_cache: str | None = None
    loras: tuple[LoraChoice, ...] = ()
    timeout_ms: int | None = None
    seeds: tuple[int, ...] = ()
    output: OutputChoice = OutputChoice()


def parse_output_choice(arrays: Arrays, *, has_store: bool = False) -> OutputChoice:
    """Check the inputs that say how images are handed over; the others are left alone.

    Args:
        arrays: as for `parse_request`.
        has_store: whether a result store is configured, for the response format "url".

    Raises:
        InvalidArgument: as `parse_request`; also for "url" without a store.
    """
    response_format = values.choice(arrays, "response_format", tensors.RESPONSE_FORMATS) or "bytes"
    if response_format == "url" and not has_store:
        raise InvalidArgument("response_format", '"url" needs a result store and none is configured; use b64_json')
    return OutputChoice(
        output_format=_output_format(arrays),
        output_compression=values.integer(arrays, "output_compression", 0, limits.MAX_OUTPUT_COMPRESSION),
        response_format=response_format,
        user=values.text(arrays, "user", 1, limits.MAX_USER_CHARACTERS),
        return_control=values.flag(arrays, "return_control"),
    )


def parse_request(
    arrays: Arrays,
    request_limits: RequestLimits,
    *,
    granularity_px: int = 1,
    given: InputImages | None = None,
    has_store: bool = False,
) -> ImageRequest:
    """Check every public input against its rule.

    Args:
        arrays: the inputs that are present, by public name; BYTES as object arrays of `bytes`.
        request_limits: the deployment's limits.
        granularity_px: both sides of `size` are multiples of this.
        given: the input images, where they are decoded already; None to go by `image` and the other inputs.
        has_store: whether a result store is configured.

    Raises:
        InvalidArgument: names the first field that breaks its rule, its value and what is allowed.
    """
    for name in arrays:
        if name not in _TABLE:
            raise InvalidArgument(name, "no such input; inputs are " + ", ".join(_TABLE))
    n = values.integer(arrays, "n", 1, limits.MAX_N)
    n = 1 if n is None else n
    images = _blobs(arrays, "image", limits.MAX_IMAGES)
    mask = _blobs(arrays, "mask", 1)
    references = _blobs(arrays, "reference_image", limits.MAX_REFERENCES)
    control_images = _blobs(arrays, "control_image", limits.MAX_CONTROLS)
    has_images = bool(images) if given is None else given.images is not None
    if has_images and (references if given is None else given.references):
        raise InvalidArgument("reference_image", "given with image; give references, or an image to start from")
    controls = parse_controls(arrays, len(control_images) if given is None else given.control_count)
    preprocess = values.flag(arrays, "control_preprocess")
    output = parse_output_choice(arrays, has_store=has_store)
    for name, asked in (("control_preprocess", preprocess), ("return_control", output.return_control)):
        if asked and not controls:
            raise InvalidArgument(name, "given without control_image")
    strength = values.number(arrays, "strength", 0.0, 1.0, above_lowest=True)
    if mask and not has_images:
        raise InvalidArgument("mask", "given without image; a mask says which part of an image to repaint")
    if strength is not None and not has_images:
        raise InvalidArgument("strength", "given without image; it says how far to move away from an image")
    prompt = values.text(arrays, "prompt", 1, limits.MAX_PROMPT_CHARACTERS)
    if prompt is None:
        raise InvalidArgument("prompt", "missing; it is required")
    return ImageRequest(
        prompt=prompt,
        negative_prompt=values.text(arrays, "negative_prompt", 0, limits.MAX_PROMPT_CHARACTERS),
        images=images,
        mask=mask[0] if mask else None,
        references=references,
        control_images=control_images,
        controls=controls,
        control_preprocess=preprocess,
        n=n,
        size=_size(arrays, request_limits, granularity_px),
        num_inference_steps=values.integer(arrays, "num_inference_steps", 1, request_limits.max_num_inference_steps),
        guidance_scale=values.number(arrays, "guidance_scale", 0.0, request_limits.max_guidance_scale),
        strength=strength,
        scheduler=values.choice(arrays, "scheduler", tensors.SCHEDULERS),
        step_cache=values.choice(arrays, "step_cache", tensors.STEP_CACHES),
        loras=parse_loras(arrays, request_limits.max_loras_per_request),
        timeout_ms=values.integer(arrays, "timeout_ms", 1, limits.MAX_TIMEOUT_MS),
        seeds=_seeds(arrays, n),
        output=output,
    )


def parse_partial_images(arrays: Arrays) -> int:
    """How many previews of each image a stream asks for, 0..3; the other inputs are left alone.

    Raises:
        InvalidArgument: as `parse_request`.
    """
    return values.integer(arrays, "partial_images", 0, limits.MAX_PARTIAL_IMAGES) or 0


def parse_request_id(arrays: Arrays) -> str:
    """The Triton request id that is to be cancelled.

    Raises:
        InvalidArgument: it is missing, empty or too long.
    """
    request_id = values.text(arrays, "request_id", 1, limits.MAX_REQUEST_ID_CHARACTERS)
    if request_id is None:
        raise InvalidArgument("request_id", "missing; it is required")
    return request_id


def _output_format(arrays: Arrays) -> str:
    text = values.text(arrays, "output_format", 0, values.LONGEST)
    other_name = tensors.OTHER_OUTPUT_FORMATS.get(text or "")
    return other_name or values.choice(arrays, "output_format", tensors.OUTPUT_FORMATS) or "png"


def _blobs(arrays: Arrays, name: str, most: int) -> tuple[bytes, ...]:
    items = values.elements(arrays, name, most)
    if len(items) > most:
        allowed = f"{most} is allowed" if most == 1 else f"{most} are allowed"
        raise InvalidArgument(name, f"too_large: {len(items)} {name}s; at most {allowed}")
    # An empty one is left to the loader, which reports it together with the other bad images.
    return tuple(item.encode() if isinstance(item, str) else bytes(item) for item in items)


def _size(arrays: Arrays, request_limits: RequestLimits, granularity_px: int) -> tuple[int, int] | None:
    text = values.text(arrays, "size", 0, values.LONGEST)
    if text is None or text == "auto":
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidArgument("size", f'{values.shown(text)} is neither "auto" nor "WxH" in pixels, {_size_hint(text)}')
    size = int(match[1]), int(match[2])
    check_size(size, request_limits, granularity_px)
    return size


def _size_hint(text: str) -> str:
    """How to write the size that `text` seems to mean; an example where it means none."""
    if text.strip().lower() == "auto":
        return 'write it as "auto"'
    meant = _SIZE_MEANT.fullmatch(text) if len(text) <= values.SHOWN_CHARACTERS else None
    if meant is None:
        return 'as in "512x512"'
    return f'write it as "{int(meant[1])}x{int(meant[2] or meant[1])}"'


def _seeds(arrays: Arrays, n: int) -> tuple[int, ...]:
    array = arrays.get("seed")
    if array is None:
        return ()
    if array.ndim != 1 or array.size not in (1, n):
        raise InvalidArgument("seed", f"shape {list(array.shape)}; one seed or n={n} seeds are allowed")
    seeds = tuple(int(seed) for seed in array)
    highest = limits.MAX_SEED - (n - 1 if len(seeds) == 1 else 0)
    for seed in seeds:
        if not 0 <= seed <= highest:
            meant = "a random one" if len(seeds) == 1 else "random ones"
            hint = f"; leave it out for {meant}" if seed < 0 else ""
            raise InvalidArgument("seed", f"{seed} is outside 0..{highest}{hint}")
    return seeds
