"""Which task a request asks for, and whether the served model does it."""

from __future__ import annotations

from collections.abc import Collection

from imagegen.api.errors import InvalidArgument
from imagegen_client import EDITING, IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE

_FIELD = {TEXT_TO_IMAGE: "image", IMAGE_TO_IMAGE: "image", INPAINTING: "mask", EDITING: "reference_image"}
_SELECTED_BY = {IMAGE_TO_IMAGE: "image", INPAINTING: "image and mask", EDITING: "reference_image"}


def requested_task(*, has_image: bool, has_mask: bool, has_references: bool = False) -> str:
    """The task of a request with these inputs."""
    if has_references:
        return EDITING
    if not has_image:
        return TEXT_TO_IMAGE
    return INPAINTING if has_mask else IMAGE_TO_IMAGE


def check_task(task: str, tasks: Collection[str], model: str) -> None:
    """Refuse a task that the model does not do.

    Args:
        task: that a request asks for.
        tasks: that the model does.
        model: its name.

    Raises:
        InvalidArgument: it names the input that makes, or would make, the difference.
    """
    if task not in tasks:
        field = "reference_image" if task == TEXT_TO_IMAGE and EDITING in tasks else _FIELD[task]
        done = ", ".join(f"{name} ({_SELECTED_BY[name]})" if name in _SELECTED_BY else name for name in tasks)
        raise InvalidArgument(field, f"the model {model} does no {task}; it does {done}")
