"""Requests made up from the OpenAPI document: none that it allows is refused, none that it forbids accepted, no 500.

Against a stand-in for Triton that judges tensors by the same rules, so that any size and number of images costs
nothing; tests/service/test_openai_schema.py asks a real one. `MORE_EXAMPLES=3000` where time is no matter.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from imagegen.openai.fields import OwnFields

EXAMPLES = int(os.environ.get("MORE_EXAMPLES", "15"))
PATHS = [f"/v1/images/{name}" for name in ("generations", "edits", "variations")]
SETTINGS = settings(
    max_examples=EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CHECKS: list[Any] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.response_schema_conformance,
    checks.positive_data_acceptance,
    checks.negative_data_rejection,
]


def cases(url: str, path: str, mode: GenerationMode) -> Any:
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    return document[path]["POST"].as_strategy(generation_mode=mode)


def is_told_apart(case: Any) -> bool:
    """Whether what arrives is what was made up, and is judged by all that the schema says."""
    if not isinstance(case.body, dict):
        return True
    nvext = case.body.get("nvext")
    if case.body.get("input_fidelity") == "high":  # of models that edit by references
        return False
    if any(names_twice(fields.get("lora")) for fields in (case.body, nvext) if isinstance(fields, dict)):
        return False
    mixed = isinstance(nvext, dict) and any(name in case.body for name in OwnFields.model_fields)  # mostly accepted
    if case.media_type != "multipart/form-data":
        return not mixed
    # A form leaves out null and empty lists, an empty text is as good, and a text is as good as a file.
    empty = any(value in (None, [], "") for value in case.body.values())
    files = [
        value for name in ("image", "image[]", "mask", "control_image") for value in _several(case.body.get(name, []))
    ]
    return not empty and not mixed and all(hasattr(value, "data") for value in files)


def names_twice(loras: Any) -> bool:
    """Whether an adapter is named twice, by two forms or with two scales, which a schema cannot forbid."""
    items = loras if isinstance(loras, list) else []
    names = [item.get("name") if isinstance(item, dict) else item for item in items]
    return any(name in names[:index] for index, name in enumerate(names))


def fit_controls(fields: Any) -> None:
    """Leave out what is said of control images that are not there, which a schema could forbid only at great length."""
    if not isinstance(fields, dict):
        return
    count = len(_several(fields["control_image"])) if fields.get("control_image") is not None else 0
    for name in ("control_type", "control_scale", "control_end", "control_preprocess", "return_control"):
        given = len(_several(fields.get(name)))
        if not count or given > count or (name == "control_type" and given < count):
            fields.pop(name, None)


def fits_between_fields(case: Any) -> bool:
    """Whether a form keeps the rules between fields, which JSON's schemas say and those of forms do not."""
    if case.media_type != "multipart/form-data":
        return True
    body, nvext = case.body, case.body.get("nvext") or {}
    n, seeds = body.get("n") or 1, _several(body.get("seed") or nvext.get("seed") or 0)
    is_apart = body.get("partial_images") or nvext.get("annotations")
    return len(seeds) in (1, n) and (n == 1 if body.get("stream") else not is_apart)


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# What a form forbids is made up in tests/service/test_openai_schema.py: here schemathesis cannot always do it.
@pytest.mark.parametrize(
    ("path", "mode"),
    [*((path, GenerationMode.POSITIVE) for path in PATHS), (PATHS[0], GenerationMode.NEGATIVE)],
    ids=["generations", "edits", "variations", "forbidden generations"],
)
def test_the_document_says_what_is_accepted(url: str, path: str, mode: GenerationMode) -> None:
    @seed(1)
    @SETTINGS
    @given(cases(url, path, mode))
    def check(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            fit_controls(case.body)
            fit_controls(case.body.get("nvext"))
        if is_told_apart(case) and (mode is GenerationMode.NEGATIVE or fits_between_fields(case)):
            case.call_and_validate(base_url=url, checks=CHECKS)

    check()
