"""What the images of an edit are to the served model: references that condition the result, or where it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imagegen.api import tensors
from imagegen.openai.errors import BadRequest
from imagegen_client import EDITING, INPAINTING, ModelDescription


def edit_tensors(described: ModelDescription | None, images: Sequence[Any], mask: Any, field: str) -> dict[str, Any]:
    """The public tensors of an edit's images.

    For a model that edits by references they are these, as many as Triton says that it takes; with a mask, where the
    model inpaints, the one image to repaint. For every other model the images start the result, and where there is
    no mask the transparent parts of the first are one.

    Args:
        described: the served model; None where the server does not tell, as one of an earlier release.
        images: of the request, one at least.
        mask: None for none.
        field: the name of `images` in the request.

    Raises:
        BadRequest: a mask with a model that edits and does not inpaint, or with several images.
    """
    if described is None or EDITING not in described.tasks:
        return {"image": list(images), "mask": tensors.MASK_FROM_ALPHA if mask is None else mask}
    if mask is None:
        return {"reference_image": list(images)}
    if INPAINTING not in described.tasks:
        done = ", ".join(described.tasks)
        raise BadRequest(f"mask: the model {described.model} does no {INPAINTING}; it does {done}", "mask")
    if len(images) > 1:
        raise BadRequest(f"{field}: {len(images)} images with mask, which repaints a part of one", field)
    return {"image": list(images), "mask": mask}
