"""The arguments of a request, defined once for all clients and the command line, and their tensors."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from imagegen_client.errors import InvalidArgument

Image: TypeAlias = "bytes | str | Path"
"""File content, or text for the server to read (http(s) URL, data URL, base64), or a file to read here."""

DATA_TYPES = {
    "prompt": "BYTES",
    "negative_prompt": "BYTES",
    "image": "BYTES",
    "mask": "BYTES",
    "reference_image": "BYTES",
    "control_image": "BYTES",
    "control_type": "BYTES",
    "control_scale": "FP32",
    "control_end": "FP32",
    "control_preprocess": "BOOL",
    "return_control": "BOOL",
    "n": "INT32",
    "size": "BYTES",
    "num_inference_steps": "INT32",
    "guidance_scale": "FP32",
    "strength": "FP32",
    "scheduler": "BYTES",
    "step_cache": "BYTES",
    "lora": "BYTES",
    "lora_scale": "FP32",
    "timeout_ms": "INT32",
    "seed": "INT64",
    "output_format": "BYTES",
    "output_compression": "INT32",
    "response_format": "BYTES",
    "user": "BYTES",
}
"""Triton's data type of each argument that travels as a tensor."""

STREAM_DATA_TYPES = {**DATA_TYPES, "partial_images": "INT32"}
"""The same for a stream."""

_INTEGER_DTYPES: dict[str, type[np.signedinteger[Any]]] = {"INT32": np.int32, "INT64": np.int64}

_P = ParamSpec("_P")
_Client = TypeVar("_Client")
_Response = TypeVar("_Response")
_Arguments = TypeVar("_Arguments", bound="GenerateArguments")


@dataclass(frozen=True)
class GenerateArguments:
    """One request. None leaves an input out, so that the server's default applies; the server checks ranges.

    Attributes:
        prompt: what the images show.
        negative_prompt: what to stay away from.
        image: one image or several to start from; selects image-to-image.
        mask: which part of the image to repaint (transparent or white); selects inpainting.
        reference_image: one image or several that all condition every image, for models that edit by references.
        control_image: one image or several that the image follows, as edges or depth.
        control_type: what each of them shows, as the model names it; may be left out where it has one type alone.
        control_scale: how strongly each of them counts, 0..2, in the same order; 1 unless given.
        control_end: until which part of the steps each of them counts, above 0, up to 1; 1 unless given.
        control_preprocess: whether the server is to make the control images of plain ones.
        return_control: whether the control images are to come back too, as they were used.
        n: number of images.
        size: "WxH" in pixels, or "auto".
        num_inference_steps: denoising steps.
        guidance_scale: how closely to follow the prompt; 0 is a value.
        strength: how far to move away from `image`, above 0, up to 1.
        scheduler: name of the sampler, such as "euler" or "dpmpp_2m".
        step_cache: off, fine, balanced or fast: how many steps take a forecast instead of running the model.
        lora: name of a LoRA adapter that the server offers, or several; all of them apply.
        lora_scale: how strongly each of them counts, -4..4, in the same order; 1 unless given.
        timeout_ms: deadline on the server, in milliseconds; the work stops when it passes.
        seed: one value (image i gets seed + i) or n values.
        output_format: "png", "jpeg" (or "jpg") or "webp".
        output_compression: 0..100, see the server's table.
        response_format: "bytes", "b64_json" or "url" (the server stores the image).
        user: opaque id for storage paths and logs.
        request_id: by which the request can be cancelled, and found in the server's log.
        priority: 1 is the most urgent; 0 leaves it to the server. Of no effect on streams.
        timeout_s: how long this client waits for the response, in seconds; None for ever. It does not stop the
            server: `timeout_ms` does.
    """

    prompt: str
    _: KW_ONLY
    negative_prompt: str | None = None
    image: Image | Sequence[Image] | None = None
    mask: Image | None = None
    reference_image: Image | Sequence[Image] | None = None
    control_image: Image | Sequence[Image] | None = None
    control_type: str | Sequence[str] | None = None
    control_scale: float | Sequence[float] | None = None
    control_end: float | Sequence[float] | None = None
    control_preprocess: bool | None = None
    return_control: bool | None = None
    n: int | None = None
    size: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    strength: float | None = None
    scheduler: str | None = None
    step_cache: str | None = None
    lora: str | Sequence[str] | None = None
    lora_scale: float | Sequence[float] | None = None
    timeout_ms: int | None = None
    seed: int | Sequence[int] | None = None
    output_format: str | None = None
    output_compression: int | None = None
    response_format: str | None = None
    user: str | None = None
    request_id: str = ""
    priority: int = 0
    timeout_s: float | None = 600.0

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The inputs that are present, each of one dimension; BYTES as object arrays of `bytes`.

        Raises:
            InvalidArgument: a value has the wrong type, an integer does not fit, or a file cannot be read.
        """
        given = ((name, data_type, getattr(self, name, None)) for name, data_type in STREAM_DATA_TYPES.items())
        return {name: _array(name, data_type, value) for name, data_type, value in given if value is not None}


@dataclass(frozen=True)
class StreamArguments(GenerateArguments):
    """One request whose progress is followed.

    Attributes:
        partial_images: 0..3 previews of each image.
    """

    _: KW_ONLY
    partial_images: int | None = None


def takes_arguments(
    make: Callable[_P, _Arguments],
) -> Callable[[Callable[[_Client, _Arguments], _Response]], Callable[Concatenate[_Client, _P], _Response]]:
    """Decorate a method that takes the arguments `make` makes so that it takes what `make` takes instead.

    Four clients then share one signature that editors, type checkers and `help()` know, written once.
    """

    def decorate(
        method: Callable[[_Client, _Arguments], _Response],
    ) -> Callable[Concatenate[_Client, _P], _Response]:
        def generate(self: _Client, /, *args: _P.args, **kwargs: _P.kwargs) -> _Response:
            return method(self, make(*args, **kwargs))

        update_wrapper(generate, method)
        client, _ = inspect.signature(method).parameters.values()
        arguments = inspect.signature(make).parameters.values()
        generate.__dict__["__signature__"] = inspect.signature(method).replace(parameters=[client, *arguments])
        return generate

    return decorate


def _array(name: str, data_type: str, value: Any) -> npt.NDArray[Any]:
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    values = list(value) if several else [value]
    if not values:
        raise InvalidArgument("empty; leave it out instead", name)
    if data_type == "BYTES":
        return np.array([_bytes(name, item) for item in values], dtype=np.object_)
    if data_type == "FP32":
        return np.array([_float(name, item) for item in values], dtype=np.float32)
    if data_type == "BOOL":
        return np.array([_flag(name, item) for item in values], dtype=np.bool_)
    dtype = _INTEGER_DTYPES[data_type]
    return np.array([_integer(name, item, np.iinfo(dtype)) for item in values], dtype=dtype)


def _bytes(name: str, value: Any) -> bytes:
    try:
        if isinstance(value, Path):
            return value.read_bytes()
        if isinstance(value, str):
            return value.encode()
        return bytes(memoryview(value))
    except OSError as error:
        raise InvalidArgument(f"cannot read {value}: {error.strerror}", name) from None
    except UnicodeEncodeError:
        raise InvalidArgument("not valid Unicode text", name) from None
    except TypeError:
        raise InvalidArgument(f"{type(value).__name__} is not text, bytes or a Path", name) from None


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidArgument(f"{value!r} is not True or False", name)
    return bool(value)


def _integer(name: str, value: Any, limits: np.iinfo[Any]) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidArgument(f"{value!r} is not an integer", name) from None
    if not limits.min <= number <= limits.max:
        raise InvalidArgument(f"{number} does not fit a {limits.bits}-bit integer", name)
    return number


def _float(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidArgument(f"{value!r} is not a number", name) from None
    except OverflowError:  # of an integer
        raise InvalidArgument(f"{value} does not fit a 32-bit float", name) from None
    if math.isfinite(number) and abs(number) > float(np.finfo(np.float32).max):
        raise InvalidArgument(f"{value} does not fit a 32-bit float", name)
    return number
