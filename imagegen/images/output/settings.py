"""What a deployment sets about encoding and storing images, as parameters of `image_postprocess`."""

from __future__ import annotations

import os
import re
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from imagegen.api.parameter_types import SETTINGS_CONFIG, TrueOrFalse
from imagegen.images.output.encode import ISAL_INSTALLED
from imagegen.images.output.store import SCHEMES, SIGNING_SCHEMES

_MOST_SIGNED_URL_S = 7 * 24 * 3600  # S3 and Google Cloud Storage sign for a week at most
_WEB_ADDRESS = re.compile(r"https?://[^/\s]+")
_SCHEMES_SHOWN = ", ".join(f"{scheme}://" for scheme in SCHEMES)


class OutputSettings(BaseModel):
    """Configuration of encoding and storing images."""

    model_config = SETTINGS_CONFIG

    request_threads: int = Field(
        default=32, ge=1, description="requests handled at the same time; more wait in Triton's queue"
    )
    encode_threads: int = Field(
        default=0,
        ge=0,
        description="threads that help the requests' own to encode several images; 0 for one less than cores",
    )
    png_encoder: Literal["auto", "pillow", "isal"] = Field(
        default="auto",
        description="who writes PNG without output_compression: auto (ISA-L for RGB where isal is installed, else"
        " Pillow), pillow, or isal (ISA-L for grey and RGBA too)",
    )
    embed_parameters: TrueOrFalse = Field(
        default=False,
        description="write prompt, seed, steps, guidance, size and model into each file, as PNG text or EXIF",
    )
    output_url: str | None = Field(
        default=None,
        description="where images of response_format url are stored, as file:///var/images, s3://bucket/folder,"
        " gs://..., az://... or memory://; empty for nowhere: response_format url is then refused before any work",
    )
    public_base_url: str | None = Field(
        default=None,
        description="what clients put before an image's key to fetch it; empty for addresses signed by the store,"
        " which s3, gs and az can do",
    )
    signed_url_s: int = Field(
        default=3600,
        ge=1,
        le=_MOST_SIGNED_URL_S,
        description="how long a signed address is good for, in seconds, up to a week",
    )
    store_timeout_s: float = Field(
        default=30.0, gt=0, description="longest time for storing the images of one request on a remote store"
    )

    @field_validator("png_encoder")
    @classmethod
    def _is_installed(cls, encoder: str) -> str:
        if encoder == "isal" and not ISAL_INSTALLED:
            raise ValueError("it needs the package isal, which is not installed")
        return encoder

    @field_validator("output_url")
    @classmethod
    def _names_a_store(cls, output_url: str | None) -> str | None:
        if output_url is None:
            return None
        scheme, separator, place = output_url.partition("://")
        if not separator or scheme not in SCHEMES:
            raise ValueError(f"it begins with one of {_SCHEMES_SHOWN}")
        if scheme == "file" and not place.startswith("/"):
            raise ValueError("it is an absolute path, as file:///var/images")
        if scheme in SIGNING_SCHEMES and not place.strip("/"):
            raise ValueError(f"it names a bucket, as {scheme}://bucket/folder")
        return output_url

    @field_validator("public_base_url")
    @classmethod
    def _is_a_web_address(cls, address: str | None) -> str | None:
        if address is not None and not _WEB_ADDRESS.match(address):
            raise ValueError("it begins with http(s)://HOST")
        return address

    @model_validator(mode="after")
    def _images_of_the_store_have_addresses(self) -> Self:
        scheme = (self.output_url or "").partition("://")[0]
        if scheme and self.public_base_url is None and scheme not in SIGNING_SCHEMES:
            raise ValueError(f"parameter public_base_url: missing; {scheme}:// cannot sign addresses")
        return self

    @property
    def helper_threads(self) -> int:
        """The number of encoding threads with 0 resolved.

        With one more, three threads share two cores for the first three of four images, and the last one has a core
        for itself: 2.5 times the time of one image instead of 2.
        """
        return self.encode_threads or max(1, len(os.sched_getaffinity(0)) - 1)
