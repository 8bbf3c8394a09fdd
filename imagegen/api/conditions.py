"""The images that condition a request, references and controls, against what the served model takes."""

from __future__ import annotations

from collections.abc import Sequence

from imagegen.api.controls import ControlChoice
from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import Conditions
from imagegen.api.values import shown


def check_references(sizes: Sequence[tuple[int, ...]], takes: Conditions, model: str) -> None:
    """Refuse references that the model does not take.

    Args:
        sizes: (width, height) in pixels of each.
        takes: what the model takes.
        model: its name.

    Raises:
        InvalidArgument: names the field and the limit.
    """
    check_reference_count(len(sizes), takes, model)
    for index, size in enumerate(sizes):
        if refusal := reference_refusal(size, takes, model):
            raise InvalidArgument(f"reference_image[{index}]", f"{size[0]}x{size[1]} pixels; {refusal}")


def reference_refusal(size: tuple[int, ...], takes: Conditions, model: str) -> str | None:
    """What a reference of this size, (width, height) in pixels, should be for the model; None where it takes it."""
    if min(size) < takes.least_reference_px:
        return f"each side is {takes.least_reference_px} or more for the model {model}"
    if takes.max_reference_ratio is not None and max(size) > takes.max_reference_ratio * min(size):
        return f"no side is over {takes.max_reference_ratio} times as long as the other for the model {model}"
    return None


def check_reference_count(count: int, takes: Conditions, model: str) -> None:
    """Refuse more references than the model takes.

    Raises:
        InvalidArgument: names the field and the limit.
    """
    if count > takes.max_references:
        most = f"at most {takes.max_references}" if takes.max_references else "none"
        raise InvalidArgument("reference_image", f"{count} images; the model {model} takes {most}")


def check_controls(controls: Sequence[ControlChoice], task: str, takes: Conditions, model: str) -> None:
    """Refuse controls that the model has not.

    Raises:
        InvalidArgument: names the field, and what the model takes.
    """
    if not controls:
        return
    if not takes.control_types:
        raise InvalidArgument("control_image", f"the model {model} has no control models")
    if task not in takes.control_tasks:
        raise InvalidArgument(
            "control_image", f"the model {model} takes none for {task}; for {', '.join(takes.control_tasks)} it does"
        )
    if len(controls) > takes.max_controls:
        raise InvalidArgument(
            "control_image", f"{len(controls)} images; the model {model} takes at most {takes.max_controls}"
        )
    known = ", ".join(takes.control_types)
    for control in controls:
        if control.type is None and len(takes.control_types) > 1:
            raise InvalidArgument("control_type", f"missing; the model {model} has several: {known}")
        if control.type is not None and control.type not in takes.control_types:
            raise InvalidArgument("control_type", f"{shown(control.type)} is not one of {known}")
        if control.end < 1 and not takes.has_control_end:
            raise InvalidArgument("control_end", f"{control.end:g}; the controls of the model {model} count to the end")
