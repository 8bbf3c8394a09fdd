"""Every limit of a request, once: the fixed ones of the public contract, and those that a deployment sets."""

from __future__ import annotations

import math

from pydantic import BaseModel, Field

from imagegen.api.errors import InvalidArgument
from imagegen.api.parameter_types import SETTINGS_CONFIG
from imagegen_client import TASKS

MAX_IMAGES = 16  # OpenAI's images API: at most 16 input images
MAX_N = 10  # OpenAI's images API: n is 1..10
MAX_PROMPT_CHARACTERS = 32_000  # OpenAI's images API
MAX_USER_CHARACTERS = 256
MAX_TIMEOUT_MS = 3_600_000  # one hour: longer is a mistake in the unit
MAX_REQUEST_ID_CHARACTERS = 1024
MAX_SEED = 2**63 - 1  # INT64
MAX_PARTIAL_IMAGES = 3  # OpenAI's images API: partial_images is 0..3
MAX_OUTPUT_COMPRESSION = 100  # OpenAI's images API: output_compression is 0..100
MAX_LORA_SCALE = 4.0  # either way; beyond it an image is noise
MAX_LORA_NAME_CHARACTERS = 256
MAX_REFERENCES = 16
MAX_CONTROLS = 4
MAX_CONTROL_TYPE_CHARACTERS = 64
MAX_CONTROL_SCALE = 2.0  # beyond it an image is its control image, painted over
SLEEP_LEVELS = (1, 2)  # weights in the host's memory, or nowhere

DEFAULT_MAX_IMAGE_BYTES = 50_000_000  # OpenAI's images API: an input image is less than 50 MB
DEFAULT_GRANULARITY_PX = 8  # what most latent diffusion models need: their VAE takes 8x8 pixels to one latent


class RequestLimits(BaseModel):
    """The limits that a deployment sets, as parameters of `diffusion`; the other models get them from there."""

    model_config = SETTINGS_CONFIG

    max_num_inference_steps: int = Field(default=100, ge=1, description="cap of num_inference_steps")
    max_guidance_scale: float = Field(default=30.0, ge=0, description="cap of guidance_scale")
    max_side_px: int = Field(default=2048, ge=1, description="longest side of an image")
    max_area_px: int = Field(default=2048 * 2048, ge=1, description="most pixels of an image")
    max_loras_per_request: int = Field(
        default=4, ge=0, le=16, description="most LoRA adapters that one request may stack; 0 for none at all"
    )


class Conditions(BaseModel):
    """What a model takes of images that condition its own."""

    model_config = SETTINGS_CONFIG

    max_references: int = Field(default=0, description="most reference images of a request")
    least_reference_px: int = Field(default=1, description="least side of a reference image, pixels")
    control_types: tuple[str, ...] = Field(default=(), description="what a control image may show")
    max_controls: int = Field(default=0, description="most control images of a request")
    control_tasks: tuple[str, ...] = Field(default=(), description="tasks that take control images")
    has_control_end: bool = Field(default=True, description="whether a control may end before the last step")


NO_CONDITIONS = Conditions()


class RequestRules(BaseModel):
    """What the models behind the edge allow. The defaults hold for an edge that is served alone."""

    model_config = SETTINGS_CONFIG

    limits: RequestLimits = Field(default=RequestLimits(), description="those of the diffusion model")
    granularity_px: int = Field(
        default=DEFAULT_GRANULARITY_PX, ge=1, description="both sides of an image are multiples of it"
    )
    model: str = Field(default="", description="name of the served checkpoint, for messages")
    tasks: tuple[str, ...] = Field(default=TASKS, description="what it does")
    conditions: Conditions | None = Field(
        default=None, description="what it takes of references and controls; None where nobody has said"
    )
    has_store: bool = Field(default=False, description="whether a result store is configured, for response_format url")


def check_sleep_level(level: int, allowed: tuple[int, ...] = SLEEP_LEVELS) -> None:
    """Raise InvalidArgument when there is no such level of sleep."""
    if level not in allowed:
        raise InvalidArgument("level", f"{level} is not one of {', '.join(map(str, allowed))}")


def check_size(size: tuple[int, int], limits: RequestLimits, granularity_px: int) -> None:
    """Raise InvalidArgument when `size`, (width, height) in pixels, breaks the limits or the granularity."""
    width, height = size
    grain = granularity_px
    fits = min(size) >= grain and max(size) <= limits.max_side_px and width * height <= limits.max_area_px
    if not fits or width % grain or height % grain:
        square = min(math.isqrt(limits.max_area_px), limits.max_side_px) // grain * grain
        multiple = f", a multiple of {grain}" if grain > 1 else ""
        raise InvalidArgument(
            "size",
            f'"{width}x{height}" is not allowed: each side is {grain}..{limits.max_side_px} pixels{multiple},'
            f" and width x height at most {limits.max_area_px}, as {square}x{square}",
        )


def fit_within(size: tuple[int, int], limits: RequestLimits, granularity_px: int = 1) -> tuple[int, int]:
    """The (width, height) of an image scaled down, never up, to the limits, rounded down to the granularity."""
    longest, area = max(size), size[0] * size[1]

    def fitted(side: int) -> int:  # in whole numbers: a float just below a multiple would lose a whole one
        by_side = side * limits.max_side_px // longest
        by_area = math.isqrt(side * side * limits.max_area_px // area)
        return max(granularity_px, min(side, by_side, by_area) // granularity_px * granularity_px)

    return fitted(size[0]), fitted(size[1])
