"""The input images of one request, decoded, and how they travel between models.

References keep their own sizes, so they travel flat, one behind the other, with their sizes beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imagegen.api.errors import InvalidArgument
from imagegen.api.tasks import requested_task
from imagegen.api.tensors import IMAGE_TENSORS, Arrays, Pixels


@dataclass(frozen=True, eq=False)
class InputImages:
    """The decoded input images of one request.

    Attributes:
        images: uint8 RGB [N, H, W, 3] to start from, or None.
        mask: uint8 [1, H, W], 255 = repaint, or None.
        references: uint8 RGB [H, W, 3] each, with sizes of their own; all of them condition every output image.
        controls: uint8 RGB [C, H, W, 3], one for each control, or None.
    """

    images: Pixels | None = None
    mask: Pixels | None = None
    references: tuple[Pixels, ...] = ()
    controls: Pixels | None = None

    @property
    def control_count(self) -> int:
        """How many controls there are."""
        return 0 if self.controls is None else len(self.controls)

    @property
    def task(self) -> str:
        """The task that they ask for."""
        return requested_task(
            has_image=self.images is not None, has_mask=self.mask is not None, has_references=bool(self.references)
        )

    @property
    def auto_area_px(self) -> int | None:
        """Pixels of the image that size "auto" follows, about; None where it follows none."""
        followed = self.controls if self.images is None else self.images
        if followed is not None:
            return followed.shape[1] * followed.shape[2]
        return self.references[-1].shape[0] * self.references[-1].shape[1] if self.references else None

    def present(self) -> list[Pixels]:
        """All arrays that there are, in the order of the attributes."""
        single = [pixels for pixels in (self.images, self.mask) if pixels is not None]
        return [*single, *self.references, *([] if self.controls is None else [self.controls])]

    def tensors(self) -> Arrays:
        """The tensors between the models, those that there are; the reverse of `take_input_images`."""
        arrays: Arrays = {}
        if self.images is not None:
            arrays["pixels"] = self.images
        if self.mask is not None:
            arrays["mask_pixels"] = self.mask
        if self.references:
            arrays["reference_pixels"] = np.concatenate([reference.reshape(-1) for reference in self.references])
            arrays["reference_sizes"] = np.array([each.shape[:2] for each in self.references], dtype=np.int32)
        if self.controls is not None:
            arrays["control_pixels"] = self.controls
        return arrays


NO_IMAGES = InputImages()


def take_input_images(arrays: Arrays) -> InputImages:
    """Take the tensors of input images out of `arrays`; the references share their memory.

    Args:
        arrays: may hold pixels uint8 [N, H, W, 3], mask_pixels uint8 [1, H, W], control_pixels uint8 [C, H, W, 3],
            reference_pixels uint8 [sum of H x W x 3] and reference_sizes int32 [R, 2], height and width of each.

    Raises:
        InvalidArgument: the references do not fit their sizes.
    """
    taken = {name: arrays.pop(name, None) for name in IMAGE_TENSORS}
    flat, sizes = taken["reference_pixels"], taken["reference_sizes"]
    if (flat is None) != (sizes is None):
        raise InvalidArgument("reference_pixels", "reference_pixels and reference_sizes belong together; give both")
    references: tuple[Pixels, ...] = ()
    if flat is not None and sizes is not None:
        if sizes.ndim != 2 or sizes.shape[1:] != (2,) or not len(sizes) or sizes.min() < 1:
            raise InvalidArgument("reference_sizes", f"shape {list(sizes.shape)}; height and width, 1 or more, of each")
        counts = [int(height) * int(width) * 3 for height, width in sizes]
        if flat.size != sum(counts):
            raise InvalidArgument("reference_pixels", f"{flat.size} values; reference_sizes ask for {sum(counts)}")
        parts = np.split(flat.reshape(-1), np.cumsum(counts)[:-1])
        references = tuple(part.reshape(*size, 3) for part, size in zip(parts, sizes.tolist(), strict=True))
    return InputImages(taken["pixels"], taken["mask_pixels"], references, taken["control_pixels"])
