"""What a deployment can set about loading images, as parameters of `image_preprocess`."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

from imagegen.api.request import Caps

FORMATS = ("PNG", "JPEG", "WEBP")
_LEAST = {
    "granularity_px": 1,
    "max_image_bytes": 1,
    "max_image_side_px": 1,
    "max_image_pixels": 1,
    "fetch_attempts": 1,
    "max_redirects": 0,
    "max_connections": 1,
    "max_url_requests": 1,
    "request_threads": 1,
    "decode_threads": 0,
    "url_cache_bytes": 0,
}
_DOMAIN = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]+")  # the last for IPv6 addresses


@dataclass(frozen=True)
class LoadingSettings(Caps):
    """Limits of the loader. The defaults are safe for clients nobody knows.

    The caps of the diffusion model are among them, so that what is above those is refused early.

    Attributes:
        granularity_px: sides that are taken from an image, and the sides of `size`, are multiples of this; the
            diffusion model checks against its own.
        max_image_bytes: most bytes of one encoded image or mask, whether sent or fetched; the default is that of
            OpenAI's images API.
        max_image_side_px: longest side of an image, checked before its pixels are decoded.
        max_image_pixels: most pixels (width x height) of an image, checked before they are decoded.
        formats: accepted formats, out of PNG, JPEG and WEBP.
        allow_private_addresses: also fetch from addresses that are not public (loopback, 10.0.0.0/8, link-local, ...).
            Only for a server whose every client may see that network.
        allowed_domains: hosts that images are fetched from, as example.com for that host and .example.com for all
            below it (IDN in punycode); empty for all.
        connect_timeout_s: longest wait for a connection to one address, and for its TLS handshake.
        read_timeout_s: longest wait for the next bytes of an answer.
        fetch_timeout_s: longest time for one image in all: waiting, redirects and further attempts included.
        fetch_attempts: most attempts to fetch an image; more than one after timeouts, broken connections, 429 and 5xx.
        max_redirects: most redirects of one attempt.
        max_connections: downloads at the same time.
        max_url_requests: requests with image URLs at the same time; more are refused as overloaded (503).
        request_threads: requests with images but without URLs at the same time; more wait in Triton's queue.
        decode_threads: images decoded at the same time; 0 for one a core.
        url_cache_bytes: room for fetched images; 0 turns the cache off.
        url_cache_s: longest time for which a fetched image is used again; its server may shorten it; 0 turns the
            cache off.
        input_save_path: folder in which input images are kept as they came; empty for none, nothing is written.
        output_url: as image_postprocess.output_url; while it is empty, response_format url is refused before any work.

    Raises:
        ValueError: names the field, its value and what is allowed.
    """

    granularity_px: int = 8
    max_image_bytes: int = 50_000_000
    max_image_side_px: int = 16_384
    max_image_pixels: int = 32 * 2**20
    formats: tuple[str, ...] = FORMATS
    allow_private_addresses: bool = False
    allowed_domains: tuple[str, ...] = ()
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 10.0
    fetch_timeout_s: float = 30.0
    fetch_attempts: int = 3
    max_redirects: int = 3
    max_connections: int = 64
    max_url_requests: int = 256
    request_threads: int = 32
    decode_threads: int = 0
    url_cache_bytes: int = 256 * 2**20
    url_cache_s: float = 300.0
    input_save_path: str | None = None
    output_url: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"parameter {name}: {getattr(self, name)} is not allowed; it is {least} or more")
        if not (math.isfinite(self.url_cache_s) and self.url_cache_s >= 0):
            raise ValueError(
                f"parameter url_cache_s: {self.url_cache_s} is not allowed; it is a finite number of seconds, 0 or more"
            )
        for name in ("connect_timeout_s", "read_timeout_s", "fetch_timeout_s"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds > 0):
                raise ValueError(
                    f"parameter {name}: {seconds} is not allowed; it is a finite number of seconds above 0"
                )
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise ValueError(
                f"parameter formats: {', '.join(self.formats)!r} is not allowed; one or more of {', '.join(FORMATS)}"
            )
        for domain in self.allowed_domains:
            if not _DOMAIN.fullmatch(domain):
                raise ValueError(
                    f"parameter allowed_domains: {domain!r} is not allowed; it is a host as example.com, or"
                    " .example.com for all below it, in lower case"
                )

    @property
    def decoders(self) -> int:
        """Images decoded at the same time: `decode_threads`, or as many as there are cores."""
        return self.decode_threads or os.cpu_count() or 1
