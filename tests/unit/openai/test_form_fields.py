"""Parts by the names that clients give them: lists, nested fields, what comes twice, and what is empty."""

from __future__ import annotations

from typing import Any

import pytest

from imagegen.openai.errors import BadRequest
from imagegen.openai.form_fields import Part, PartName, fields_of


def read(*parts: tuple[str, bytes]) -> dict[str, Any]:
    return fields_of([Part(PartName.parse(name), data) for name, data in parts])


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["image"], [0]),
        (["image[]"], [0]),
        (["image", "image"], [0, 1]),
        (["image[]", "image[]", "image[]"], [0, 1, 2]),
        (["image[0]", "image[1]"], [0, 1]),
        (["image[1]", "image[0]", "image[10]"], [1, 0, 2]),
        (["image", "image[]"], [0, 1]),
    ],
)
def test_images_as_clients_name_them(names: list[str], order: list[int]) -> None:
    sent = [b"%d" % index for index in range(len(names))]
    assert read(*zip(names, sent, strict=True))["image"] == [sent[index] for index in order]


@pytest.mark.parametrize("name", ["mask", "mask[]", "mask[0]"])
def test_a_mask_as_clients_name_it(name: str) -> None:
    assert read((name, b"m")) == {"mask": b"m"}


@pytest.mark.parametrize("field", ["control_image", "reference_image"])
def test_other_images_are_files_too_and_texts_in_nvext(field: str) -> None:
    assert read((field, b"\xff"), (f"{field}[]", b"b")) == {field: [b"\xff", b"b"]}
    assert read((f"nvext[{field}]", b"a")) == {"nvext": {field: "a"}}
    assert read((f"nvext[{field}]", b"a"), (f"nvext[{field}]", b"b")) == {"nvext": {field: ["a", "b"]}}


def test_lists_of_texts() -> None:
    fields = read(("seed[]", b"1"), ("seed[]", b"2"), ("nvext[seed][1]", b"4"), ("nvext[seed][0]", b"3"))
    assert fields == {"seed": ["1", "2"], "nvext": {"seed": ["3", "4"]}}


def test_a_list_as_openapi_has_it() -> None:
    assert read(("seed", b"1"), ("seed", b"2"), ("seed", b"")) == {"seed": ["1", "2"]}
    assert read(("nvext[seed]", b"1"), ("nvext[seed]", b"2")) == {"nvext": {"seed": ["1", "2"]}}
    for name in ("control_type", "control_scale", "control_end"):
        assert read((name, b"1"), (name, b"2")) == {name: ["1", "2"]}
    for name in ("lora", "lora[]"):
        assert read((name, b"a"), (name, b'{"name": "b"}')) == {"lora": ["a", '{"name": "b"}']}
    assert read(("lora", b"a")) == {"lora": "a"}


def test_empty_fields_are_absent() -> None:
    empty = read(("size", b""), ("nvext[seed]", b""), ("seed[]", b""), ("image", b""), ("mask", b""), ("prompt", b"x"))
    assert empty == {"prompt": "x", "size": None, "seed": None, "nvext": {"seed": None}}
    assert read(("nvext", b"")) == {"nvext": None}


@pytest.mark.parametrize(
    "parts",
    [
        [("prompt", b"a"), ("prompt", b"b")],
        [("image[0]", b"a"), ("image[0]", b"b")],
        [("mask", b"a"), ("mask", b"b")],
        [("mask[]", b"a"), ("mask[]", b"b")],
        [("mask", b"a"), ("mask[0]", b"b")],
        [("seed", b"1"), ("seed[]", b"2")],
        [("nvext", b"{}"), ("nvext", b"{}")],
        [("n", b"1"), ("n", b"1")],
        [("nvext[strength]", b"1"), ("nvext[strength]", b"2")],
        [("nvext[seed]", b"1"), ("nvext", b"{}")],
    ],
)
def test_a_field_comes_once(parts: list[tuple[str, bytes]]) -> None:
    with pytest.raises(BadRequest) as refused:
        read(*parts)
    assert refused.value.code == "duplicate_field"


@pytest.mark.parametrize("name", ["", "[", "[]", "image[x]", "image[-1]", "nvext[a", "a[0][1]", "nvext[a][b]"])
def test_a_name_of_no_known_form_is_a_field_of_its_own(name: str) -> None:
    assert read((name, b"x")) == {name: "x"}


@pytest.mark.parametrize("name", ["prompt", "nvext[seed]", "seed[]"])
def test_a_text_that_is_none_is_named(name: str) -> None:
    with pytest.raises(BadRequest, match="not valid UTF-8 at byte 1") as refused:
        read((name, b"a\xff"))
    assert refused.value.param == name.removesuffix("[]")


def test_nvext_as_an_object() -> None:
    assert read(("nvext", b'{"seed": 7}')) == {"nvext": {"seed": 7}}
    with pytest.raises(BadRequest):
        read(("nvext", b"[]"))
