"""What a deployment sets about loading input images, as parameters of `image_preprocess`."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from imagegen.api.limits import DEFAULT_MAX_IMAGE_BYTES
from imagegen.api.parameter_types import SETTINGS_CONFIG, CommaSeparated, TrueOrFalse

_DOMAIN = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]+")  # the last for IPv6 addresses

_MOVED = {
    "max_num_inference_steps": "diffusion",
    "max_guidance_scale": "diffusion",
    "max_side_px": "diffusion",
    "max_area_px": "diffusion",
    "granularity_px": "diffusion",
    "output_url": "image_postprocess",
}


class InputSettings(BaseModel):
    """Limits of the loader. The defaults are safe for clients nobody knows."""

    model_config = SETTINGS_CONFIG

    max_image_bytes: int = Field(
        default=DEFAULT_MAX_IMAGE_BYTES,
        ge=1,
        description="most bytes of one encoded image or mask, whether sent or fetched; the default is that of OpenAI's"
        " images API",
    )
    max_image_side_px: int = Field(
        default=16_384, ge=1, description="longest side of an image, checked before its pixels are decoded"
    )
    max_image_pixels: int = Field(
        default=32 * 2**20,
        ge=1,
        description="most pixels (width x height) of an image, checked before they are decoded",
    )
    formats: Annotated[tuple[Literal["PNG", "JPEG", "WEBP"], ...], CommaSeparated] = Field(
        default=("PNG", "JPEG", "WEBP"), min_length=1, description="accepted formats, out of PNG, JPEG and WEBP"
    )
    allow_private_addresses: TrueOrFalse = Field(
        default=False,
        description="also fetch from addresses that are not public (loopback, 10.0.0.0/8, link-local, ...). Only for a"
        " server whose every client may see that network",
    )
    allowed_domains: Annotated[tuple[str, ...], CommaSeparated] = Field(
        default=(),
        description="hosts that images are fetched from, as example.com for that host and .example.com for all below"
        " it (IDN in punycode); empty for all",
    )
    connect_timeout_s: float = Field(
        default=5.0, gt=0, description="longest wait for a connection to one address, and for its TLS handshake"
    )
    read_timeout_s: float = Field(default=10.0, gt=0, description="longest wait for the next bytes of a response")
    fetch_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="longest time for one image in all: waiting, redirects and further attempts included",
    )
    fetch_attempts: int = Field(
        default=3,
        ge=1,
        description="most attempts to fetch an image; more than one after timeouts, broken connections, 429 and 5xx",
    )
    max_redirects: int = Field(default=3, ge=0, description="most redirects of one attempt")
    max_connections: int = Field(default=64, ge=1, description="downloads at the same time")
    max_url_requests: int = Field(
        default=256, ge=1, description="requests with image URLs at the same time; more are refused as overloaded (503)"
    )
    request_threads: int = Field(
        default=32,
        ge=1,
        description="requests with images but without URLs at the same time; more wait in Triton's queue",
    )
    decode_threads: int = Field(default=0, ge=0, description="images decoded at the same time; 0 for one a core")
    url_cache_bytes: int = Field(
        default=256 * 2**20, ge=0, description="room for fetched images; 0 turns the cache off"
    )
    url_cache_s: float = Field(
        default=300.0,
        ge=0,
        description="longest time for which a fetched image is used again; its server may shorten it; 0 turns the"
        " cache off",
    )
    input_save_path: str | None = Field(
        default=None,
        description="folder in which input images are kept as they came; empty for none, nothing is written",
    )
    depth_model: str = Field(
        default="",
        description="folder or hub id of a Depth Anything model for transformers, with which `control_preprocess` makes"
        " depth images, on the CPU; empty for none",
    )
    pose_model: str = Field(
        default="",
        description="folder or hub id of a ViTPose model for transformers, with which `control_preprocess` makes images"
        " of poses, on the CPU; needs pose_detector; empty for none",
    )
    pose_detector: str = Field(
        default="",
        description="folder or hub id of a model for transformers that detects people for pose_model, such as RT-DETR;"
        " empty for none",
    )

    @model_validator(mode="before")
    @classmethod
    def _names_no_setting_of_another_model(cls, values: Any) -> Any:
        for name, owner in _MOVED.items():
            if name in values:
                raise ValueError(f"parameter {name}: set it on {owner} alone; image_preprocess gets it from there")
        return values

    @field_validator("allowed_domains")
    @classmethod
    def _are_hosts(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        for domain in domains:
            if not _DOMAIN.fullmatch(domain):
                raise ValueError(
                    f"{domain!r} is no host as example.com, or .example.com for all below it, in lower case"
                )
        return domains

    @property
    def decoders(self) -> int:
        """Images decoded at the same time: `decode_threads`, or as many as there are cores."""
        return self.decode_threads or os.cpu_count() or 1
