"""What OpenAI's own client can send is in the table, and the frontend does with it what the table says."""

from __future__ import annotations

import json
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from openai.types.image_create_variation_params import ImageCreateVariationParams
from openai.types.image_edit_params import ImageEditParamsNonStreaming
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming

from imagegen.openai.errors import BadRequest
from imagegen.openai.fields import EditFields, GenerationFields, VariationFields
from imagegen.openai.openai_values import RULES, UNSUPPORTED_FIELDS, Treatment, accepted_values, warning_of
from tests.service.http_pieces import form_request, json_request
from tests.unit.openai.http_exchange import exchange

PARAMS: dict[str, tuple[Any, Any]] = {
    "generations": (ImageGenerateParamsNonStreaming, GenerationFields),
    "edits": (ImageEditParamsNonStreaming, EditFields),
    "variations": (ImageCreateVariationParams, VariationFields),
}
FILES = {"image", "mask"}
ASIDE = {"model", "stream"}  # names of models that are not here; a type of its own for each value


def literals(kind: Any) -> set[Any]:
    """The values that a type enumerates, at any depth."""
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return set().union(*(literals(part) for part in get_args(kind)))
    return set()


@pytest.mark.parametrize("route", PARAMS)
def test_every_field_of_openais_client_is_known(route: str) -> None:
    params, fields = PARAMS[route]
    unknown = set(get_type_hints(params)) - set(fields.model_fields) - set(UNSUPPORTED_FIELDS) - FILES
    assert unknown == set()


@pytest.mark.parametrize("route", PARAMS)
def test_every_value_of_openais_client_is_in_the_table(route: str) -> None:
    known = {(rule.field, value) for rule in RULES for value in rule.values}
    sent = {
        (field, value)
        for field, kind in get_type_hints(PARAMS[route][0]).items()
        if field not in ASIDE | set(UNSUPPORTED_FIELDS)
        for value in literals(kind)
    }
    assert len(sent) >= 5
    assert sent - known == set()


def test_a_value_is_in_the_table_once() -> None:
    listed = [(rule.field, repr(value), rule.with_references) for rule in RULES for value in rule.values]
    assert len(set(listed)) == len(listed)
    assert {rule.treatment for rule in RULES} == set(Treatment)


CASES = {
    f"{route}-{rule.field}-{value}": (route, rule, value)
    for route, (_, fields) in PARAMS.items()
    for rule in RULES
    for value in rule.values
    if rule.field in fields.model_fields and not rule.with_references
}


@pytest.mark.parametrize("case", CASES)
def test_the_frontend_does_what_the_table_says(url: str, case: str) -> None:
    """JSON and forms alike; a stream and its last event too."""
    route, rule, value = CASES[case]
    if route == "generations":
        sent = json_request("/v1/images/generations", {"prompt": "x", rule.field: value})
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        prompt = [] if route == "variations" else [("prompt", b"x")]
        sent = form_request(f"/v1/images/{route}", [*prompt, ("image", b"a"), (rule.field, text.encode())])
    response = exchange(url, sent)
    if rule.treatment is Treatment.REFUSED:
        error = json.loads(response.body)["error"]
        assert (response.status, error["param"]) == (400, rule.field)
        assert rule.meaning in error["message"]
        return
    assert response.status == 200
    is_stream = response.headers["content-type"].startswith("text/event-stream")
    assert is_stream == (rule.field == "stream" and value)
    body = json.loads(response.body.partition(b"data: ")[2] if is_stream else response.body)
    warnings = [warning for warning in body["metadata"]["warnings"] if warning.startswith(f"{rule.field}: ")]
    assert len(warnings) == (rule.treatment is Treatment.WARNED)
    assert all(rule.meaning in warning for warning in warnings)


@pytest.mark.parametrize("field", UNSUPPORTED_FIELDS)
def test_a_field_that_cannot_be_honoured_is_refused_with_the_reason(url: str, field: str) -> None:
    for value, status in (({"a": 1}, 400), (2, 400), (None, 200)):
        response = exchange(url, json_request("/v1/images/generations", {"prompt": "x", field: value}))
        assert response.status == status
        if status == 400:
            error = json.loads(response.body)["error"]
            assert error["param"] == field
            assert UNSUPPORTED_FIELDS[field] in error["message"]


def test_a_field_of_an_object_that_cannot_be_honoured(url: str) -> None:
    response = exchange(
        url, form_request("/v1/images/edits", [("prompt", b"x"), ("image", b"a"), ("svg[model]", b"m")])
    )
    assert UNSUPPORTED_FIELDS["svg"] in json.loads(response.body)["error"]["message"]


def test_the_warnings_come_with_the_last_event_of_a_stream(url: str) -> None:
    fields = {"prompt": "x", "stream": True, "moderation": "low", "style": "natural"}
    response = exchange(url, json_request("/v1/images/generations", fields))
    completed = json.loads(response.body.partition(b"data: ")[2])
    assert [warning.partition(":")[0] for warning in completed["metadata"]["warnings"]] == ["moderation", "style"]


def test_references_are_taken_in_full() -> None:
    assert warning_of("input_fidelity", "high", with_references=True) is None
    with pytest.raises(BadRequest, match="references takes them in full") as refused:
        warning_of("input_fidelity", "low", with_references=True)
    assert refused.value.param == "input_fidelity"
    assert accepted_values("input_fidelity") == ("high", "low")


def test_a_value_of_nobody_is_refused() -> None:
    for field in ("background", "moderation", "style", "input_fidelity", "complexity"):
        with pytest.raises(BadRequest, match=f"{field}: 'no such' is not one of ") as refused:
            warning_of(field, "no such")
        assert refused.value.param == field
