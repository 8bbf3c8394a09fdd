"""OpenAI's fields and ours to the tensors that Triton gets."""

from __future__ import annotations

from typing import Any

import pytest

from imagegen.api import tensors
from imagegen.openai.errors import BadRequest, NotFound
from imagegen.openai.fields import Call, GenerationFields, OwnFields, edit_call, generation_call, variation_call
from imagegen.openai.settings import Settings
from imagegen_client.arguments import GenerateArguments

SETTINGS = Settings(model_id="some/model", quality_steps={"low": 5, "ultra": 80})


def call(**given: Any) -> Call:
    return generation_call({"prompt": "x"} | given, SETTINGS)


def given_values(made: Call) -> dict[str, Any]:
    return {name: value for name, value in made.values.items() if value is not None}


def test_a_prompt_alone() -> None:
    made = call()
    assert given_values(made) == {"prompt": "x", "response_format": "b64_json"}
    assert (made.kind, made.stream, made.partial_images, made.progress, made.quality) == (
        "image_generation",
        False,
        0,
        False,
        "auto",
    )


def test_every_value_is_a_public_tensor() -> None:
    made = edit_call({"prompt": b"x".decode(), "image": [b"a"]}, SETTINGS, as_json=False)
    assert set(made.values) <= set(tensors.INPUT_NAMES)
    assert set(OwnFields.model_fields) <= set(tensors.INPUT_NAMES)
    assert GenerateArguments(**given_values(made)).tensors()


@pytest.mark.parametrize("name", list(OwnFields.model_fields))
def test_own_fields_at_top_level_and_in_nvext(name: str) -> None:
    value: Any = "euler" if name in ("scheduler", "negative_prompt") else 1
    assert call(**{name: value}).values[name] == call(nvext={name: value}).values[name] == value
    with pytest.raises(BadRequest, match=f"nvext.{name}: given twice") as refused:
        call(**{name: value}, nvext={name: value})
    assert refused.value.param == f"nvext.{name}"


def test_several_seeds() -> None:
    assert call(seed=[1, 2], n=2).values["seed"] == [1, 2]


def test_quality_is_steps_unless_steps_are_given() -> None:
    assert call(quality="ultra").values["num_inference_steps"] == 80
    assert call(quality="auto").values["num_inference_steps"] is None
    assert call(quality="low", nvext={"num_inference_steps": 7}).values["num_inference_steps"] == 7
    for unknown in ("high", ""):
        with pytest.raises(BadRequest, match="auto, low, ultra"):
            call(quality=unknown)


@pytest.mark.parametrize("model", [None, "image_generation", "some/model"])
def test_models_that_are_ours(model: str | None) -> None:
    assert call(model=model)


def test_a_model_that_is_not() -> None:
    with pytest.raises(NotFound) as refused:
        call(model="gpt-image-1")
    assert (refused.value.status, refused.value.param, refused.value.code) == (404, "model", "model_not_found")


def test_the_newer_name_of_user_counts_first() -> None:
    assert call(user="a").values["user"] == "a"
    assert call(user="a", safety_identifier="b").values["user"] == "b"
    assert call(user="a", safety_identifier="").values["user"] == "a"
    with pytest.raises(BadRequest) as refused:
        call(safety_identifier="u" * (tensors.MAX_USER_CHARACTERS + 1))
    assert refused.value.param == "safety_identifier"


def test_progress_only_in_streams() -> None:
    annotations = {"annotations": ["progress"]}
    assert call(stream=True, nvext=annotations).progress
    with pytest.raises(BadRequest, match="without stream") as refused:
        call(nvext=annotations)
    assert refused.value.param == "nvext.annotations"
    assert not call(stream=True, nvext={"annotations": []}).progress


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"n": "1"}, "n"),
        ({"n": True}, "n"),
        ({"stream": "true"}, "stream"),
        ({"seed": "7"}, "seed"),
        ({"seed": [1, "7"]}, "seed"),
        ({"nvext": []}, "nvext"),
        ({"nvext": {"seed": 1.5}}, "nvext.seed"),
        ({"nvext": {"x": 1}}, "nvext.x"),
        ({"nvext": {"annotations": "progress"}}, "nvext.annotations"),
        ({"": 1}, ""),
        ({"x" * 5000: 1}, "x" * 500 + "…"),
    ],
)
def test_the_field_at_fault_is_named(given: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        call(**given)
    assert refused.value.param == param


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(BadRequest) as refused:
        call(n={"secret": "wish"})
    assert "wish" not in str(refused.value)


def test_a_form_gives_texts() -> None:
    form = {"prompt": "x", "n": "2", "guidance_scale": "0", "seed": "7", "stream": "false", "image": [b"a", b"b"]}
    made = edit_call(form, SETTINGS, as_json=False)
    assert given_values(made) == {
        "prompt": "x",
        "n": 2,
        "guidance_scale": 0.0,
        "seed": 7,
        "response_format": "b64_json",
        "image": [b"a", b"b"],
        "mask": "alpha",
    }
    assert made.kind == "image_edit"


def test_a_mask_goes_before_alpha() -> None:
    form = {"prompt": "x", "image": b"a", "mask": b"m"}
    assert edit_call(form, SETTINGS, as_json=False).values["mask"] == b"m"


def test_addresses() -> None:
    given = {"prompt": "x", "images": [{"image_url": "https://a/"}], "mask": {"image_url": "https://m/"}}
    values = edit_call(given, SETTINGS, as_json=True).values
    assert (values["image"], values["mask"]) == (["https://a/"], "https://m/")


def test_a_variation_has_the_deployments_prompt_and_strength() -> None:
    made = variation_call({"image": b"a"}, Settings(variation_prompt="more", variation_strength=0.3))
    assert (made.values["prompt"], made.values["strength"], made.values["image"]) == ("more", 0.3, [b"a"])
    assert variation_call({"image": b"a", "strength": "0.9"}, SETTINGS).values["strength"] == 0.9


def test_the_schema_shows_the_rules() -> None:
    properties = GenerationFields.model_json_schema()["properties"]
    assert properties["n"]["maximum"] == tensors.MAX_N
    for tensor in tensors.INPUTS:
        if tensor.name in properties and tensor.name != "response_format":
            assert properties[tensor.name]["description"] == tensor.rule
