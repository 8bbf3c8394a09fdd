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
from imagegen_client import EDITING, INPAINTING, GenerateArguments
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
    flags, lists = ("control_preprocess", "return_control"), ("lora", "reference_image", "control_image")
    texts = ("scheduler", "step_cache", "negative_prompt", "control_type", *lists)
    value: Any = "euler" if name in texts else True if name in flags else 1
    arrives = ["euler"] if name in lists else value
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


def editor(*others: str) -> RequestParser:
    """Of a model that edits by references."""
    served = ServedModel("some/model")
    served.learn_description(replace(DESCRIPTION, tasks=dict.fromkeys((EDITING, *others), ())))
    return RequestParser(SETTINGS, served)


def test_the_images_of_an_edit_are_references_of_a_model_that_edits_by_them() -> None:
    of_form = editor().edit({"prompt": "x", "image": [b"a", b"b"]}, as_json=False)
    assert given_values(of_form) == {"prompt": "x", "response_format": "b64_json", "reference_image": [b"a", b"b"]}
    assert (of_form.kind, of_form.field) == ("image_edit", "image")
    addresses = [{"image_url": "https://a/"}, {"image_url": "data:image/png;base64,AA=="}]
    of_json = editor().edit({"prompt": "x", "images": addresses, "input_fidelity": "high"}, as_json=True)
    assert of_json.values["reference_image"] == ["https://a/", "data:image/png;base64,AA=="]
    assert (of_json.values.get("image"), of_json.values.get("mask"), of_json.field) == (None, None, "images")
    with pytest.raises(BadRequest, match="takes them in full"):
        editor().edit({"prompt": "x", "images": addresses, "input_fidelity": "low"}, as_json=True)


def test_a_mask_of_such_a_model_is_for_inpainting() -> None:
    form = {"prompt": "x", "image": [b"a"], "mask": b"m", "strength": FormText("0.5"), "input_fidelity": "low"}
    values = editor(INPAINTING).edit(form, as_json=False).values
    assert (values["image"], values["mask"], values["reference_image"]) == ([b"a"], b"m", None)
    with pytest.raises(BadRequest) as refused:
        editor().edit(form, as_json=False)
    assert refused.value.param == "mask"


def test_references_of_a_generation_are_one_or_several() -> None:
    assert parse(reference_image="https://a/").values["reference_image"] == ["https://a/"]
    made = parse(nvext={"reference_image": ["https://a/", "QUJD"]})
    assert (made.values["reference_image"], made.field) == (["https://a/", "QUJD"], "reference_image")


@pytest.mark.parametrize("parser", [PARSER, editor()])
def test_the_images_of_other_routes_are_all_that_there_are(parser: RequestParser) -> None:
    own: dict[str, Any]
    for own in ({"reference_image": [b"r"]}, {"nvext": {"reference_image": "https://r/"}}):
        for route in (lambda given: parser.edit({"prompt": "x"} | given, as_json=False), parser.variation):
            with pytest.raises(BadRequest, match="given with image") as refused:
                route({"image": [b"a"]} | own)
            assert refused.value.param == "reference_image"


def test_controls_of_all_routes() -> None:
    of_json = {"control_image": ["https://a/", "QUJD"], "control_type": ["canny", "depth"], "control_scale": [0.5, 1]}
    assert {name: parse(**of_json).values[name] for name in of_json} == of_json
    one = {"control_image": "https://a/", "control_type": "canny", "control_end": 0.5, "control_preprocess": True}
    assert parse(nvext=one | {"return_control": True}).values["control_image"] == ["https://a/"]
    form = {
        "control_image": [b"a", b"b"],
        "control_scale": [FormText("0.5"), FormText("1")],
        "control_preprocess": FormText("true"),
    }
    for made in (
        PARSER.edit({"prompt": "x", "image": b"i"} | form, as_json=False),
        PARSER.variation({"image": b"i"} | form),
    ):
        arrays = GenerateArguments(**given_values(made)).tensors()
        assert arrays["control_image"].tolist() == [b"a", b"b"]
        assert (arrays["control_scale"].tolist(), arrays["control_preprocess"].tolist()) == ([0.5, 1.0], [True])


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
