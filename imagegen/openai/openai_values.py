"""What becomes of each value that OpenAI's specification enumerates for image requests: one table, documented too.

What asks for something that is not done is refused. What changes nothing is accepted, with a warning where a client
might think that it does: clients send such values by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from imagegen.api import limits, tensors
from imagegen.openai.errors import BadRequest, shown


class Treatment(StrEnum):
    """What becomes of a value."""

    HONOURED = "honoured"
    WARNED = "accepted with a warning"
    REFUSED = "refused"


@dataclass(frozen=True)
class Rule:
    """What becomes of some values of a field.

    Attributes:
        field: its name.
        values: as JSON has them.
        treatment: of them.
        meaning: what they do here, or why they are not honoured; part of the warning or the refusal.
        with_references: of requests whose images are references, or of those whose images are not; None for all.
    """

    field: str
    values: tuple[Any, ...]
    treatment: Treatment
    meaning: str
    with_references: bool | None = None


RESPONSE_FORMATS = ("b64_json", "url")
_STRENGTH = "strength says how near an image stays to its input"
_REFERENCES = "a model that edits by references takes them in full"
_LEGACY_SIZES = ("256x256", "512x512", "1792x1024", "1024x1792")

RULES = (
    Rule("background", ("auto", "opaque"), Treatment.HONOURED, "images are opaque"),
    Rule("background", ("transparent",), Treatment.REFUSED, "the model makes opaque images"),
    Rule("moderation", ("auto",), Treatment.HONOURED, "what is moderated is up to the deployment"),
    Rule("moderation", ("low",), Treatment.WARNED, "what is moderated is up to the deployment"),
    Rule("style", ("vivid", "natural"), Treatment.WARNED, "the style is what the prompt asks for"),
    Rule("complexity", ("low", "medium", "high"), Treatment.WARNED, "an image is not planned before it is generated"),
    Rule("input_fidelity", ("high",), Treatment.HONOURED, _REFERENCES, with_references=True),
    Rule("input_fidelity", ("low",), Treatment.REFUSED, _REFERENCES, with_references=True),
    Rule("input_fidelity", ("low",), Treatment.HONOURED, _STRENGTH, with_references=False),
    Rule("input_fidelity", ("high",), Treatment.REFUSED, _STRENGTH, with_references=False),
    Rule(
        "quality",
        ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"),
        Treatment.HONOURED,
        "a number of steps, see quality-steps",
    ),
    Rule(
        "size",
        ("auto", "1024x1024", "1536x1024", "1024x1536", *_LEGACY_SIZES),
        Treatment.HONOURED,
        "as any other that the model and the deployment's limits allow",
    ),
    Rule("response_format", RESPONSE_FORMATS, Treatment.HONOURED, "url where results are stored"),
    Rule("output_format", tensors.OUTPUT_FORMATS, Treatment.HONOURED, "jpg is jpeg"),
    Rule("output_format", ("gif", "svg"), Treatment.REFUSED, "is not one of " + ", ".join(tensors.OUTPUT_FORMATS)),
    Rule("stream", (True, False), Treatment.HONOURED, "true: server-sent events"),
    Rule("n", tuple(range(1, limits.MAX_N + 1)), Treatment.HONOURED, "1 in a stream"),
)

UNSUPPORTED_FIELDS = {
    "frame_count": "images are not animated",
    "frame_duration_ms": "images are not animated",
    "markup": "an image has no overlay; mask says which part to repaint",
    "svg": "images are made of pixels",
}
"""Fields of OpenAI's API that nothing here can honour, and why."""

JUDGED_FIELDS = ("background", "moderation", "style", "complexity", "input_fidelity")
"""Those of which the table alone says what becomes of them; the others are tensors, or mean something here."""


def warning_of(field: str, value: str, *, with_references: bool = False) -> str | None:
    """The warning for a value of one of `JUDGED_FIELDS`, if it gets one.

    Args:
        field: its name.
        value: of the request.
        with_references: whether the images of the request are references.

    Raises:
        BadRequest: it is refused, or no value of the field.
    """
    for rule in RULES:
        if rule.field == field and value in rule.values and rule.with_references in (None, with_references):
            if rule.treatment is Treatment.REFUSED:
                raise BadRequest(f"{field}: {value!r} cannot be honoured: {rule.meaning}", field)
            return f"{field}: {value!r} changes nothing: {rule.meaning}" if rule.treatment is Treatment.WARNED else None
    raise BadRequest(f"{field}: {shown(value)[:60]!r} is not one of {', '.join(accepted_values(field))}", field)


def accepted_values(field: str) -> tuple[Any, ...]:
    """The values of a field that are not refused, or not with every model."""
    rules = [rule for rule in RULES if rule.field == field and rule.treatment is not Treatment.REFUSED]
    return tuple(dict.fromkeys(value for rule in rules for value in rule.values))
