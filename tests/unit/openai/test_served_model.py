"""The names of the one model that is served."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagegen.openai.errors import NotFound
from imagegen.openai.schema import Capabilities
from imagegen.openai.served_model import ServedModel
from tests.unit.client.test_client_description import DESCRIPTION

OFFERING = replace(DESCRIPTION, takes_loras=True, loras=("dusk", "org/outline"))


def test_before_an_image_is_known_it_is_called_by_tritons_name() -> None:
    assert ServedModel(None).id == "image_generation"


def test_the_checkpoints_name_is_learnt_from_images() -> None:
    served = ServedModel(None)
    served.learn({"model": "a-checkpoint"})
    assert served.id == "a-checkpoint"
    served.learn({"model": "another"})  # loaded in its place
    assert served.id == "another"
    with pytest.raises(NotFound):
        served.lora_of("a-checkpoint")


@pytest.mark.parametrize("metadata", [{}, {"model": None}, {"model": 7}])
def test_metadata_without_a_name_teaches_nothing(metadata: dict[str, object]) -> None:
    served = ServedModel(None)
    served.learn({"model": "a-checkpoint"})
    served.learn(metadata)
    assert served.id == "a-checkpoint"


def test_the_id_that_a_deployment_sets_counts_first() -> None:
    served = ServedModel("some/model")
    served.learn({"model": "a-checkpoint"})
    assert served.id == "some/model"


def test_what_the_model_does_is_known_until_another_one_is_served() -> None:
    served = ServedModel(None)
    assert served.capabilities() is None
    served.learn_description(DESCRIPTION)
    assert served.id == "toy"
    capabilities = served.capabilities()
    assert capabilities is not None
    assert capabilities["tasks"] == {"inpainting": ("negative_prompt", "strength")}
    assert "model" not in capabilities
    assert Capabilities(**capabilities).upscaling == 1
    assert set(capabilities) == set(Capabilities.model_fields)
    served.learn({"model": "another"})  # loaded in its place
    assert served.capabilities() is None


def test_names_that_are_accepted_and_others() -> None:
    served = ServedModel("some/model")
    with pytest.raises(NotFound):
        served.lora_of("a-checkpoint")
    served.learn({"model": "a-checkpoint"})
    for name in (None, "image_generation", "some/model", "a-checkpoint"):
        assert served.lora_of(name) is None
    with pytest.raises(NotFound, match="'dall-e-3' is not served here; see /v1/models") as refused:
        served.lora_of("dall-e-3")
    assert (refused.value.status, refused.value.param, refused.value.code) == (404, "model", "model_not_found")


def test_the_model_is_listed_with_the_adapters_on_offer() -> None:
    served = ServedModel("some/model")
    common = {"object": "model", "created": 7, "owned_by": "imagegen"}
    assert served.listed(7) == [{"id": "some/model", **common, "capabilities": None}]
    served.learn_description(OFFERING)
    capabilities = served.capabilities()
    assert capabilities is not None
    assert (capabilities["takes_loras"], capabilities["loras"]) == (True, ("dusk", "org/outline"))
    adapters = [
        {"id": name, **common, "parent": "some/model", "root": "some/model"} for name in ("dusk", "org/outline")
    ]
    assert served.listed(7) == [{"id": "some/model", **common, "capabilities": capabilities}, *adapters]
    assert served.retrieved("org/outline", 7) == adapters[1]
    assert served.retrieved("toy", 7)["id"] == "some/model"
    with pytest.raises(NotFound):
        served.retrieved("outline", 7)


def test_a_request_may_name_an_adapter_for_as_long_as_it_is_on_offer() -> None:
    served = ServedModel(None)
    assert not served.knows("dusk")
    served.learn_description(OFFERING)
    assert served.knows("dusk")
    assert served.knows("toy")
    assert not served.knows("outline")
    assert served.lora_of("dusk") == "dusk"
    served.learn_description(replace(OFFERING, loras=()))
    with pytest.raises(NotFound):
        served.lora_of("dusk")
    served.learn_description(OFFERING)
    served.learn({"model": "another"})  # loaded in its place
    assert not served.knows("dusk")


def test_no_adapter_takes_the_name_of_the_model() -> None:
    served = ServedModel(None)
    served.learn_description(replace(DESCRIPTION, loras=("toy", "image_generation")))
    assert (served.lora_of("toy"), served.lora_of("image_generation")) == (None, None)
    assert [model["id"] for model in served.listed(7)] == ["toy"]
