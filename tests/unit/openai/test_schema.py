"""The OpenAPI document."""

from __future__ import annotations

import json
import re

from imagegen.openai.app import Frontend
from imagegen.openai.errors import Busy, NotFound
from imagegen.openai.schema import failures, takes
from imagegen.openai.settings import Settings


def test_the_document_names_every_status_and_has_no_loose_ends() -> None:
    document = json.loads(Frontend(Settings())._document)
    statuses = set(document["paths"]["/v1/images/generations"]["post"]["responses"])
    assert statuses == {"200", "400", "401", "404", "408", "413", "415", "429", "499", "500", "503"}
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert names <= set(document["components"]["schemas"])


def test_a_form_has_files_and_no_null() -> None:
    schemas = json.loads(Frontend(Settings())._document)["components"]["schemas"]
    edit, variation = schemas["EditFields"], schemas["VariationFields"]
    assert {"image", "image[]", "mask"} <= set(edit["properties"])
    assert "mask" not in variation["properties"]
    for form in (edit, variation):
        assert form["properties"]["control_image"]["items"]["format"] == "binary"
    assert '"null"' not in json.dumps([edit, variation])
    assert '"null"' in json.dumps(schemas["EditJson"])


def test_references_are_a_field_of_generations_alone() -> None:
    schemas = json.loads(Frontend(Settings())._document)["components"]["schemas"]
    having = {name for name, schema in schemas.items() if "reference_image" in schema.get("properties", ())}
    assert having == {"GenerationFields", "GenerationFieldsNvExt"}
    assert schemas["GenerationFields"]["properties"]["reference_image"]["maxItems"] == 16


def test_only_errors_that_pass_by_themselves_say_when_to_retry() -> None:
    described = failures(Busy, NotFound)
    assert set(described[429]["headers"]) == {"Retry-After"}
    assert described[404]["headers"] == {}


def test_a_body_that_is_read_by_hand_is_described_by_content_type() -> None:
    content = takes(json="EditJson", form="EditFields")["requestBody"]["content"]
    assert {kind: schema["schema"]["$ref"].rpartition("/")[2] for kind, schema in content.items()} == {
        "application/json": "EditJson",
        "multipart/form-data": "EditFields",
    }


def test_adapters_have_other_forms_in_a_form_than_in_json() -> None:
    schemas = json.loads(Frontend(Settings())._document)["components"]["schemas"]
    of_json = [schemas[name]["properties"]["lora"] for name in ("GenerationFields", "EditJson", "EditJsonNvExt")]
    assert [{kind["type"] for kind in schema["anyOf"]} for schema in of_json] == [
        {"string", "object", "array", "null"}
    ] * 3
    of_forms = [schemas[name]["properties"]["lora"] for name in ("EditFields", "VariationFields")]
    assert [{kind["type"] for kind in schema["anyOf"]} for schema in of_forms] == [{"string", "array"}] * 2
    assert "lora_scale" not in json.dumps(schemas)
