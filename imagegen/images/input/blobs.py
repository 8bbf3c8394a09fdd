"""The images of one request as the client sent them, by the fields that they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagegen.api.request import ImageRequest
from imagegen.api.tensors import MASK_FROM_ALPHA

IMAGE, MASK, REFERENCE, CONTROL = "image", "mask", "reference_image", "control_image"


@dataclass(frozen=True)
class ImageBlobs:
    """The images of one request, each a URL, a data URL, base64 or file bytes.

    Attributes:
        images: to start from.
        mask: which part of them to repaint, or None. `MASK_FROM_ALPHA` takes the transparent parts of the first image;
            when it has none there is no mask.
        references: that all condition every output image.
        controls: that the output image follows.
    """

    images: Sequence[bytes] = ()
    mask: bytes | None = None
    references: Sequence[bytes] = ()
    controls: Sequence[bytes] = ()

    @classmethod
    def of(cls, request: ImageRequest) -> ImageBlobs:
        """Those of a request."""
        return cls(request.images, request.mask, request.references, request.control_images)

    @property
    def mask_is_alpha(self) -> bool:
        """Whether the mask is what is transparent in the first image."""
        return self.mask == MASK_FROM_ALPHA.encode()

    def by_field(self) -> dict[str, bytes]:
        """Each blob by its field, in the order in which problems are reported: `image[0]`, ..., `mask`, ..."""
        fields = {f"{IMAGE}[{index}]": blob for index, blob in enumerate(self.images)}
        if self.mask is not None and not self.mask_is_alpha:
            fields[MASK] = self.mask
        for kind, blobs in ((REFERENCE, self.references), (CONTROL, self.controls)):
            fields |= {f"{kind}[{index}]": blob for index, blob in enumerate(blobs)}
        return fields


def kind_of(field: str) -> str:
    """Which of the four kinds of images a field is."""
    return field.partition("[")[0]
