"""What a server says of its model survives the wire; what is no description is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from imagegen_client import EDITING, ModelDescription

DESCRIPTION = ModelDescription(
    model="toy",
    tasks={"inpainting": ("negative_prompt", "strength")},
    native_size="64x32",
    granularity_px=8,
    upscaling=1,
    schedulers=("ddim", "euler"),
    scheduler="ddim",
    previews=True,
)

LATER = {
    "takes_loras": False,
    "loras": (),
    "max_references": 0,
    "least_reference_px": 1,
    "control_types": (),
    "max_controls": 0,
    "has_control_end": True,
    "control_preprocessors": (),
    "quiet_s": None,
    "asleep": False,
}
"""What a server of an earlier release does not say, and what that means."""
REQUIRED = [name for name in asdict(DESCRIPTION) if name not in LATER]


def test_it_is_the_same_after_the_wire_and_a_later_version_may_say_more() -> None:
    assert ModelDescription.from_json(DESCRIPTION.to_json()) == DESCRIPTION
    more = json.dumps(json.loads(DESCRIPTION.to_json()) | {"a_later_field": 1})
    assert ModelDescription.from_json(more.encode()) == DESCRIPTION
    assert ModelDescription.from_json(replace(DESCRIPTION, quiet_s=1.5).to_json()).quiet_s == 1.5
    assert ModelDescription.from_json(replace(DESCRIPTION, asleep=True).to_json()).asleep
    offering = replace(DESCRIPTION, takes_loras=True, loras=("dusk", "outline"))
    assert ModelDescription.from_json(offering.to_json()) == offering
    edits = replace(DESCRIPTION, tasks={EDITING: ("control_image",)}, max_references=3, least_reference_px=64)
    assert ModelDescription.from_json(edits.to_json()) == edits
    controlled = replace(
        DESCRIPTION,
        control_types=("canny", "depth"),
        max_controls=2,
        has_control_end=False,
        control_preprocessors=("canny",),
    )
    assert ModelDescription.from_json(controlled.to_json()) == controlled


def test_a_server_of_an_earlier_release_offers_neither_adapters_nor_references_nor_controls() -> None:
    said = {name: value for name, value in json.loads(DESCRIPTION.to_json()).items() if name in REQUIRED}
    earlier = asdict(ModelDescription.from_json(json.dumps(said).encode()))
    assert {name: earlier[name] for name in LATER} == LATER


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        *(json.dumps({n: v for n, v in asdict(DESCRIPTION).items() if n != gone}) for gone in REQUIRED),
        json.dumps(asdict(DESCRIPTION) | {"quiet_s": "long"}),
        json.dumps(asdict(DESCRIPTION) | {"tasks": ["inpainting"]}),
        json.dumps(asdict(DESCRIPTION) | {"granularity_px": "many"}),
        json.dumps(asdict(DESCRIPTION) | {"loras": 7}),
        json.dumps(asdict(DESCRIPTION) | {"control_types": 7}),
        json.dumps(asdict(DESCRIPTION) | {"max_references": "many"}),
    ],
)
def test_what_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ModelDescription.from_json(text.encode())
