"""OpenAI's own client and an edit model: its images are references, and refusals name them as they were sent."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from imagegen.api.conditions import check_reference_count
from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import Conditions
from imagegen_client import EDITING, ModelDescription
from tests.unit.client.test_client_description import DESCRIPTION
from tests.unit.openai.grpc_stand_in import completed, failure, message
from tests.unit.openai.running_frontend import arrays_of, running_frontend

MODEL: ModelDescription = replace(
    DESCRIPTION, model="a-checkpoint", tasks={EDITING: ("control_image",)}, max_references=2, control_types=("canny",)
)


class EditModel:
    """A server in the place of Triton with a model that takes two references.

    Attributes:
        given: the input tensors of the latest request.
    """

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    async def __call__(self, request: Any, _: Any) -> AsyncIterator[Any]:
        self.given = arrays_of(request)
        try:
            references = self.given.get("reference_image", ())
            check_reference_count(len(references), Conditions(max_references=MODEL.max_references), MODEL.model)
        except InvalidArgument as error:
            yield failure(str(error))
            return
        done = completed()
        if self.given.get("return_control"):
            extra = message(used_control_image=["QUJD"]).infer_response
            done.infer_response.outputs.extend(extra.outputs)
            done.infer_response.raw_output_contents.extend(extra.raw_output_contents)
        yield done


@pytest.fixture(scope="module")
def model() -> EditModel:
    return EditModel()


@pytest.fixture(scope="module")
def client(model: EditModel) -> Iterator[OpenAI]:
    with (
        running_frontend(model, description=MODEL.to_json()) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def test_several_images_of_an_edit_are_references(client: OpenAI, model: EditModel) -> None:
    response = client.images.edit(image=[b"first", b"second"], prompt="the cat wears the hat")
    assert response.data is not None
    assert response.data[0].b64_json == "QUJD"
    assert model.given["reference_image"].tolist() == [b"first", b"second"]
    assert not {"image", "mask"} & set(model.given)
    client.images.edit(image=b"alone", prompt="x", input_fidelity="high")
    assert model.given["reference_image"].tolist() == [b"alone"]


def test_a_stream_of_an_edit_ends_with_its_image(client: OpenAI, model: EditModel) -> None:
    with client.images.edit(image=[b"first", b"second"], prompt="x", stream=True, partial_images=1) as events:
        (done,) = events
    assert (done.type, done.b64_json) == ("image_edit.completed", "QUJD")
    assert len(model.given["reference_image"]) == 2


def test_more_than_the_model_takes_are_refused_by_the_name_that_was_sent(client: OpenAI) -> None:
    problem = "3 images; the model a-checkpoint takes at most 2"
    with pytest.raises(BadRequestError, match=f"image: {problem}") as of_form:
        client.images.edit(image=[b"a", b"b", b"c"], prompt="x")
    assert of_form.value.param == "image"
    addresses = [{"image_url": f"https://a/{index}"} for index in range(3)]
    with pytest.raises(BadRequestError, match=f"images: {problem}") as of_json:
        client.post("/images/edits", body={"prompt": "x", "images": addresses}, cast_to=object)
    assert of_json.value.param == "images"
    with pytest.raises(BadRequestError, match=f"reference_image: {problem}") as of_generation:
        client.images.generate(prompt="x", extra_body={"reference_image": ["QQ=="] * 3})
    assert of_generation.value.param == "reference_image"


def test_a_mask_that_the_model_cannot_use_is_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="mask: the model a-checkpoint does no inpainting; it does editing"):
        client.images.edit(image=b"a", mask=b"m", prompt="x")


def test_controls_beside_references_and_the_control_image_that_was_used(client: OpenAI, model: EditModel) -> None:
    own = {"control_image": base64.b64encode(b"edges").decode(), "control_type": "canny", "return_control": True}
    response = client.images.generate(prompt="x", extra_body={"reference_image": "https://a/", **own})
    assert response.model_dump()["used_control_images"] == [{"b64_json": "QUJD"}]
    assert model.given["reference_image"].tolist() == [b"https://a/"]
    assert model.given["control_image"].tolist() == [b"ZWRnZXM="]
    fields: dict[str, Any] = {"control_type": "canny", "control_scale": 0.5}
    client.images.edit(image=b"a", prompt="x", extra_body=fields | {"control_image": "https://edges/"})
    assert model.given["control_image"].tolist() == [b"https://edges/"]  # a text of a form counts as a file's content
    assert (model.given["control_type"].tolist(), model.given["control_scale"].tolist()) == ([b"canny"], [0.5])


def test_the_model_is_listed_with_what_it_takes(client: OpenAI) -> None:
    (model,) = client.models.list()
    capabilities = model.model_dump()["capabilities"]
    assert capabilities["tasks"] == {"editing": ["control_image"]}
    assert (capabilities["max_references"], capabilities["control_types"]) == (2, ["canny"])
