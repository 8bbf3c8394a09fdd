"""The parameters of `image_postprocess/config.pbtxt`, typed."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

from imagegen.images.output.encode import ISAL_INSTALLED, PNG_ENCODERS
from imagegen.images.output.store import SCHEMES, SIGNING_SCHEMES

_MOST_SIGNED_URL_S = 7 * 24 * 3600  # S3 and Google Cloud Storage sign for a week at most
_WEB_ADDRESS = re.compile(r"https?://[^/\s]+")
_SCHEMES_SHOWN = ", ".join(f"{scheme}://" for scheme in SCHEMES)


@dataclass(frozen=True)
class PostprocessSettings:
    """Configuration of encoding and storing images.

    Attributes:
        request_threads: requests handled at the same time; more wait in Triton's queue.
        encode_threads: threads that help the requests' own to encode several images; 0 for one less than cores.
        png_encoder: who writes PNG without output_compression: auto (ISA-L for RGB where isal is installed, else
            Pillow), pillow, or isal (ISA-L for grey and RGBA too).
        embed_parameters: write prompt, seed, steps, guidance, size and model into each file, as PNG text or EXIF.
        output_url: where images of response_format url are stored, as file:///var/images, s3://bucket/folder,
            gs://..., az://... or memory://; empty for nowhere. Set image_preprocess.output_url to the same.
        public_base_url: what clients put before an image's key to fetch it; empty for addresses signed by the store,
            which s3, gs and az can do.
        signed_url_s: how long a signed address is good for, in seconds, up to a week.
        store_timeout_s: longest time for storing the images of one request on a remote store.

    Raises:
        ValueError: names the field, its value and what is allowed.
    """

    request_threads: int = 32
    encode_threads: int = 0
    png_encoder: str = "auto"
    embed_parameters: bool = False
    output_url: str | None = None
    public_base_url: str | None = None
    signed_url_s: int = 3600
    store_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.request_threads < 1:
            raise ValueError(f"parameter request_threads: {self.request_threads} is not 1 or more")
        if self.encode_threads < 0:
            raise ValueError(f"parameter encode_threads: {self.encode_threads} is not 0 or more")
        if self.png_encoder not in PNG_ENCODERS:
            raise ValueError(f"parameter png_encoder: {self.png_encoder!r} is not one of {', '.join(PNG_ENCODERS)}")
        if self.png_encoder == "isal" and not ISAL_INSTALLED:
            raise ValueError("parameter png_encoder: 'isal' needs the package isal, which is not installed")
        if not 1 <= self.signed_url_s <= _MOST_SIGNED_URL_S:
            raise ValueError(f"parameter signed_url_s: {self.signed_url_s} is outside 1..{_MOST_SIGNED_URL_S}")
        if not (math.isfinite(self.store_timeout_s) and self.store_timeout_s > 0):
            raise ValueError(f"parameter store_timeout_s: {self.store_timeout_s} is not a finite number above 0")
        if self.public_base_url is not None and not _WEB_ADDRESS.match(self.public_base_url):
            raise ValueError(f"parameter public_base_url: {self.public_base_url!r} does not begin with http(s)://HOST")
        if self.output_url is not None:
            self._check_output_url(self.output_url)

    def _check_output_url(self, output_url: str) -> None:
        scheme, separator, place = output_url.partition("://")
        if not separator or scheme not in SCHEMES:
            raise ValueError(f"parameter output_url: {output_url!r} does not begin with one of {_SCHEMES_SHOWN}")
        if scheme == "file" and not place.startswith("/"):
            raise ValueError(f"parameter output_url: {output_url!r} is no absolute path, as file:///var/images is")
        if scheme in SIGNING_SCHEMES and not place.strip("/"):
            raise ValueError(f"parameter output_url: {output_url!r} names no bucket, as {scheme}://bucket/folder does")
        if self.public_base_url is None and scheme not in SIGNING_SCHEMES:
            raise ValueError(f"parameter public_base_url: missing; {scheme}:// cannot sign addresses")

    @property
    def helper_threads(self) -> int:
        """The number of encoding threads with 0 resolved.

        With one more, three threads share two cores for the first three of four images, and the last one has a core
        for itself: 2.5 times the time of one image instead of 2.
        """
        return self.encode_threads or max(1, len(os.sched_getaffinity(0)) - 1)
