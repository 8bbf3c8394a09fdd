"""What a deployment can set about loading images, as parameters of `image_preprocess`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from imagegen.request import Caps

FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True)
class LoadingSettings(Caps):
    """Limits of the loader. The defaults are safe for clients nobody knows.

    The caps of the diffusion model are among them, so that what is above those is refused early.

    Attributes:
        max_image_bytes: most bytes of one encoded image or mask, whether sent or fetched; the default is that of
            OpenAI's images API.
        max_image_side_px: longest side of an image, checked before its pixels are decoded.
        max_image_pixels: most pixels (width x height) of an image, checked before they are decoded.
        allow_private_addresses: also fetch from addresses that are not public (loopback, 10.0.0.0/8, link-local, ...).
            Only for a server whose every client may see that network.
        connect_timeout_s: longest wait for a connection to one address, and for its TLS handshake.
        read_timeout_s: longest wait for the next bytes of an answer.
        fetch_timeout_s: longest time for one image in all, redirects included.
        fetch_threads: images loaded at the same time, over all requests.
        request_threads: requests handled at the same time; more wait in Triton's queue.
        formats: accepted formats, out of PNG, JPEG and WEBP.
        output_url: as image_postprocess.output_url; while it is empty, response_format url is refused before any work.

    Raises:
        ValueError: names the field, its value and what is allowed.
    """

    max_image_bytes: int = 50_000_000
    max_image_side_px: int = 16_384
    max_image_pixels: int = 32 * 2**20
    allow_private_addresses: bool = False
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 10.0
    fetch_timeout_s: float = 30.0
    fetch_threads: int = 32
    request_threads: int = 32
    formats: tuple[str, ...] = FORMATS
    output_url: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_image_bytes", "max_image_side_px", "max_image_pixels", "fetch_threads", "request_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"parameter {name}: {getattr(self, name)} is not allowed; it is 1 or more")
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
