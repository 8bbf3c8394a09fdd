"""What the model of a server can do, as the server tells whoever asks. Pure data, as the table of errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TEXT_TO_IMAGE = "text-to-image"
IMAGE_TO_IMAGE = "image-to-image"
INPAINTING = "inpainting"
EDITING = "editing"
TASKS = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING, EDITING)
"""What a request may ask for: nothing but text, with `image`, with `image` and `mask`, with `reference_image`."""


@dataclass(frozen=True)
class ModelDescription:
    """The served checkpoint, as far as requests depend on it.

    Attributes:
        model: its name, as in the metadata of images.
        tasks: for each task that it does, those of the inputs `negative_prompt`, `guidance_scale`, `strength` and
            `control_image` that it takes.
        native_size: "WxH" in pixels of an image whose size is "auto" and that starts from no other.
        granularity_px: both sides of an image are multiples of this.
        upscaling: how many times larger than its input image an image is; 1 unless the model is an upscaler.
        schedulers: the schedulers that a request may name.
        scheduler: the model's own, by that name, or by the name of its class.
        previews: whether `partial_images` has an effect.
        takes_loras: whether requests may name LoRA adapters.
        loras: those that they may name, by name.
        max_references: reference images that a request may have; 0 for a model that does not edit by them.
        least_reference_px: least side of a reference image, in pixels.
        max_reference_ratio: how many times as long as the other a side of a reference image may be; None for any.
        control_types: what a control image may show, as canny or depth; none without control models.
        max_controls: control images that a request may have.
        has_control_end: whether a control may end before the last step, `control_end`.
        control_preprocessors: types of which the server can make the control image of a plain one.
        quiet_s: seconds since the engine last showed that it lives, by a step or, while idle, once a second; None where
            the server does not tell.
        asleep: whether an administrator has put the model to sleep: requests without `timeout_ms` are refused until it
            is woken.
    """

    model: str
    tasks: Mapping[str, tuple[str, ...]]
    native_size: str
    granularity_px: int
    upscaling: int
    schedulers: tuple[str, ...]
    scheduler: str
    previews: bool
    takes_loras: bool = False
    loras: tuple[str, ...] = ()
    max_references: int = 0
    least_reference_px: int = 1
    max_reference_ratio: int | None = None
    control_types: tuple[str, ...] = ()
    max_controls: int = 0
    has_control_end: bool = True
    control_preprocessors: tuple[str, ...] = ()
    quiet_s: float | None = None
    asleep: bool = False

    def to_json(self) -> bytes:
        """The description as ASCII JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> ModelDescription:
        """The description that `to_json` wrote; fields that a later version has added are ignored.

        Raises:
            ValueError: it is none.
        """
        try:
            given: dict[str, Any] = json.loads(text)
            return cls(
                model=str(given["model"]),
                tasks={str(task): tuple(map(str, takes)) for task, takes in given["tasks"].items()},
                native_size=str(given["native_size"]),
                granularity_px=int(given["granularity_px"]),
                upscaling=int(given["upscaling"]),
                schedulers=tuple(map(str, given["schedulers"])),
                scheduler=str(given["scheduler"]),
                previews=bool(given["previews"]),
                takes_loras=bool(given.get("takes_loras", False)),
                loras=tuple(map(str, given.get("loras", ()))),
                max_references=int(given.get("max_references", 0)),
                least_reference_px=int(given.get("least_reference_px", 1)),
                max_reference_ratio=int(given.get("max_reference_ratio") or 0) or None,
                control_types=tuple(map(str, given.get("control_types", ()))),
                max_controls=int(given.get("max_controls", 0)),
                has_control_end=bool(given.get("has_control_end", True)),
                control_preprocessors=tuple(map(str, given.get("control_preprocessors", ()))),
                quiet_s=None if given.get("quiet_s") is None else float(given["quiet_s"]),
                asleep=bool(given.get("asleep", False)),
            )
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"no description of a model: {error!r}") from error
