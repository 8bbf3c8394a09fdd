"""The control images of a request: what each is, how strongly it counts and until when."""

from __future__ import annotations

from dataclasses import dataclass

from imagegen.api import values
from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import MAX_CONTROL_SCALE, MAX_CONTROL_TYPE_CHARACTERS, MAX_CONTROLS
from imagegen.api.tensors import Arrays


@dataclass(frozen=True)
class ControlChoice:
    """One control of a request.

    Attributes:
        type: what its image shows, one of the types that the model offers; None for the only one.
        scale: how strongly it counts, 0..2.
        end: until which part of the steps it counts, above 0, up to 1.
    """

    type: str | None = None
    scale: float = 1.0
    end: float = 1.0


def parse_controls(arrays: Arrays, count: int) -> tuple[ControlChoice, ...]:
    """The controls in the inputs `control_type`, `control_scale` and `control_end`; those left out have defaults.

    Args:
        arrays: the inputs that are present, by public name.
        count: how many control images the request has.

    Raises:
        InvalidArgument: names the input that breaks its rule, its value and what is allowed.
    """
    types = values.texts(arrays, "control_type", MAX_CONTROLS, MAX_CONTROL_TYPE_CHARACTERS)
    scales = values.numbers(arrays, "control_scale", MAX_CONTROLS, 0.0, MAX_CONTROL_SCALE)
    ends = values.numbers(arrays, "control_end", MAX_CONTROLS, 0.0, 1.0, above_lowest=True)
    for name, given in (("control_type", types), ("control_scale", scales), ("control_end", ends)):
        if given and not count:
            raise InvalidArgument(name, "given without control_image")
        if len(given) > count:
            raise InvalidArgument(name, f"{len(given)} for {count} in control_image; one an image is allowed")
    if types and len(types) < count:
        raise InvalidArgument("control_type", f"{len(types)} for {count} in control_image; give one for each")
    return tuple(
        ControlChoice(
            types[index] if types else None,
            scales[index] if index < len(scales) else 1.0,
            ends[index] if index < len(ends) else 1.0,
        )
        for index in range(count)
    )
