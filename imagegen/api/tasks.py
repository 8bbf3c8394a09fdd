"""Which task a request asks for, and whether the served model does it."""

from __future__ import annotations

from collections.abc import Collection

from imagegen.api.errors import InvalidArgument
from imagegen_client import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE

_FIELD = {TEXT_TO_IMAGE: "image", IMAGE_TO_IMAGE: "image", INPAINTING: "mask"}


def requested_task(*, has_image: bool, has_mask: bool) -> str:
    """The task of a request with these inputs."""
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
        raise InvalidArgument(_FIELD[task], f"the model {model} does no {task}; it does {', '.join(tasks)}")
