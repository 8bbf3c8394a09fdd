"""OpenAI's fields and ours to the tensors that Triton gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from imagegen.api import limits, tensors
from imagegen.openai.errors import BadRequest, NotFound
from imagegen.openai.fields import OwnFields
from imagegen.openai.form_fields import FormText
from imagegen.openai.images_request import ImagesRequest, RequestParser
from imagegen.openai.served_model import ServedModel
from imagegen.openai.settings import Settings
from imagegen_client import GenerateArguments
from tests.unit.client.test_client_description import DESCRIPTION

SETTINGS = Settings(quality_steps={"low": 5, "ultra": 80})
PARSER = RequestParser(SETTINGS, ServedModel("some/model"))


def parse(**given: Any) -> ImagesRequest:
    return PARSER.generation({"prompt": "x"} | given)


def given_values(made: ImagesRequest) -> dict[str, Any]:
    return {name: value for name, value in made.values.items() if value is not None}


def test_a_prompt_alone() -> None:
    made = parse()
    assert given_values(made) == {"prompt": "x", "response_format": "b64_json"}
    assert (made.kind, made.stream, made.partial_images, made.progress, made.quality) == (
        "image_generation",
        False,
        0,
        False,
        "auto",
    )


def test_every_value_is_a_public_tensor() -> None:
    made = PARSER.edit({"prompt": "x", "image": [b"a"]}, as_json=False)
    assert set(made.values) <= set(tensors.INPUT_NAMES)
    assert set(OwnFields.model_fields) <= set(tensors.INPUT_NAMES)
    assert GenerateArguments(**given_values(made)).tensors()


@pytest.mark.parametrize("name", list(OwnFields.model_fields))
def test_own_fields_at_top_level_and_in_nvext(name: str) -> None:
    value: Any = "euler" if name in ("scheduler", "step_cache", "negative_prompt", "lora") else 1
    arrives = ["euler"] if name == "lora" else value
    assert parse(**{name: value}).values[name] == parse(nvext={name: value}).values[name] == arrives
    with pytest.raises(BadRequest, match=f"nvext.{name}: given twice") as refused:
        parse(**{name: value}, nvext={name: value})
    assert refused.value.param == f"nvext.{name}"


def test_several_seeds() -> None:
    assert parse(seed=[1, 2], n=2).values["seed"] == [1, 2]


def test_quality_is_steps_unless_steps_are_given() -> None:
    assert parse(quality="ultra").values["num_inference_steps"] == 80
    assert parse(quality="auto").values["num_inference_steps"] is None
    assert parse(quality="low", nvext={"num_inference_steps": 7}).values["num_inference_steps"] == 7
    for unknown in ("high", ""):
        with pytest.raises(BadRequest, match="auto, low, ultra"):
            parse(quality=unknown)


@pytest.mark.parametrize("model", [None, "image_generation", "some/model"])
def test_models_that_are_ours(model: str | None) -> None:
    assert parse(model=model)


def test_a_model_that_is_not() -> None:
    with pytest.raises(NotFound) as refused:
        parse(model="gpt-image-1")
    assert (refused.value.status, refused.value.param, refused.value.code) == (404, "model", "model_not_found")


@pytest.mark.parametrize(
    ("given", "tensors_of"),
    [
        ({}, {}),
        ({"lora": None}, {}),
        ({"lora": "outline"}, {"lora": ["outline"]}),
        ({"lora": {"name": "outline", "scale": 0.8}}, {"lora": ["outline"], "lora_scale": [0.8]}),
        ({"lora": ["a", {"name": "b", "scale": 2}]}, {"lora": ["a", "b"], "lora_scale": [1.0, 2.0]}),
        ({"nvext": {"lora": ["a"]}}, {"lora": ["a"]}),
        ({"model": "dusk"}, {"lora": ["dusk"]}),
        ({"model": "dusk", "lora": {"name": "a", "scale": 2}}, {"lora": ["dusk", "a"], "lora_scale": [1.0, 2.0]}),
        ({"model": "some/model", "lora": "dusk"}, {"lora": ["dusk"]}),
    ],
)
def test_adapters_by_field_and_by_model(given: dict[str, Any], tensors_of: dict[str, Any]) -> None:
    served = ServedModel("some/model")
    served.learn_description(replace(DESCRIPTION, loras=("dusk",)))
    parser = RequestParser(SETTINGS, served)
    for made in (
        parser.generation({"prompt": "x"} | given),
        parser.edit({"prompt": "x", "images": [{"image_url": "https://a/"}]} | given, as_json=True),
        parser.variation({"image": b"a"} | given),
    ):
        values = given_values(made)
        assert {name: values[name] for name in ("lora", "lora_scale") if name in values} == tensors_of
        assert set(made.values) <= set(tensors.INPUT_NAMES)


def test_a_part_of_an_adapter_is_named_where_it_was_given() -> None:
    for given, param in (({"lora": {"path": "/a"}}, "lora.path"), ({"nvext": {"lora": [7]}}, "nvext.lora[0]")):
        with pytest.raises(BadRequest) as refused:
            parse(**given)
        assert refused.value.param == param


def test_the_newer_name_of_user_counts_first() -> None:
    assert parse(user="a").values["user"] == "a"
    assert parse(user="a", safety_identifier="b").values["user"] == "b"
    assert parse(user="a", safety_identifier="").values["user"] == "a"
    with pytest.raises(BadRequest) as refused:
        parse(safety_identifier="u" * (limits.MAX_USER_CHARACTERS + 1))
    assert refused.value.param == "safety_identifier"


def test_progress_only_in_streams() -> None:
    annotations = {"annotations": ["progress"]}
    assert parse(stream=True, nvext=annotations).progress
    with pytest.raises(BadRequest, match="without stream") as refused:
        parse(nvext=annotations)
    assert refused.value.param == "nvext.annotations"
    assert not parse(stream=True, nvext={"annotations": []}).progress


def test_a_variation_has_no_progress() -> None:
    for given in (["progress"], ["magic"]):
        with pytest.raises(BadRequest) as refused:
            PARSER.variation({"image": [b"a"], "nvext": {"annotations": given}})
        assert refused.value.param == "nvext.annotations"


def test_a_form_gives_texts() -> None:
    texts = {"prompt": "x", "n": "2", "guidance_scale": "0", "seed": "7", "stream": "false"}
    form = {name: FormText(text) for name, text in texts.items()} | {"image": [b"a", b"b"]}
    made = PARSER.edit(form, as_json=False)
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
    assert PARSER.edit(form, as_json=False).values["mask"] == b"m"


def test_addresses() -> None:
    given = {"prompt": "x", "images": [{"image_url": "https://a/"}], "mask": {"image_url": "https://m/"}}
    values = PARSER.edit(given, as_json=True).values
    assert (values["image"], values["mask"]) == (["https://a/"], "https://m/")


def test_a_variation_has_the_deployments_prompt_and_strength() -> None:
    settings = Settings(variation_prompt="more", variation_strength=0.3)
    made = RequestParser(settings, ServedModel(None)).variation({"image": b"a"})
    assert (made.values["prompt"], made.values["strength"], made.values["image"]) == ("more", 0.3, [b"a"])
    assert PARSER.variation({"image": b"a", "strength": FormText("0.9")}).values["strength"] == 0.9
