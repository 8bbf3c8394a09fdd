"""The parts of a form by the names that clients give them.

- `image`, `image[]` and `image[0]` are one list of images; so are several parts named `image`.
- `mask`, `mask[]` and `mask[0]` are the mask, which comes once.
- `control_image` and `reference_image` are lists of images as `image` is.
- `name[]` and `name[0]` are items of the list `name`; `nvext[name]` is a field of the object nvext.
- `seed` and others that may be lists may come several times: OpenAPI has the items of a list as parts of one name.
- What is empty is absent: a text without characters, and a file that nobody chose, which browsers send without a name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagegen.openai.errors import BadRequest
from imagegen.openai.json_body import parse_object

_NAME = re.compile(r"(?:(nvext)\[([a-z_]+)\]|([^\[\]]+))(?:\[([0-9]{0,3})\])?", re.ASCII)
_LISTS = ("seed", "lora", "annotations", "control_type", "control_scale", "control_end")
_LISTS_IN_NVEXT = (*_LISTS, "control_image", "reference_image")  # URLs and the like; elsewhere they are files
_FILES = ("image", "mask", "control_image", "reference_image")


class FormText(str):
    """A text of a form, which may stand for a number or a truth value; one of JSON stands for itself."""

    __slots__ = ()


@dataclass(frozen=True)
class PartName:
    """The name of a part.

    Attributes:
        outer: "nvext" for a field of that object, else "".
        field: the field's name.
        index: of an item of a list: its number, or "" for the next one; None for a field that is no list.
    """

    outer: str
    field: str
    index: str | None

    @classmethod
    def parse(cls, name: str) -> PartName:
        """The name; one of another form than those above is a field of its own."""
        match = _NAME.fullmatch(name)
        if match is None:
            return cls("", name, None)
        return cls(match[1] or "", match[2] or match[3], match[4])

    @property
    def is_file(self) -> bool:
        """Whether the part holds a file."""
        return not self.outer and self.field in _FILES

    def __str__(self) -> str:
        return f"nvext[{self.field}]" if self.outer else self.field


@dataclass(frozen=True)
class Part:
    """One part of a form.

    Attributes:
        name: of the field it is for.
        data: its content.
        has_file_name: whether it is a file by a name.
    """

    name: PartName
    data: bytes
    has_file_name: bool = False

    @property
    def is_absent(self) -> bool:
        """Whether it says nothing."""
        return not self.data and not (self.name.is_file and self.has_file_name)


def fields_of(parts: Sequence[Part]) -> dict[str, Any]:
    """The fields by name.

    Those of images are lists of bytes, `mask` bytes, `nvext` a dict or None, and all else texts, lists or None.

    Raises:
        BadRequest: a field comes twice, or a text is not valid.
    """
    fields: dict[str, Any] = {}
    by_field: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        by_field.setdefault((part.name.outer, part.name.field), []).append(part)
    for (outer, field), given in by_field.items():
        present = [part for part in given if not part.is_absent]
        if given[0].name.is_file:
            if present:
                fields[field] = _files(present)
        elif outer:
            if ("", outer) in by_field:
                raise _twice(given[0].name)
            fields.setdefault(outer, {})[field] = _texts(present)
        elif field == "nvext" and present:
            fields[field] = parse_object(_only(present).data)
        else:
            fields[field] = _texts(present)
    return fields


def _files(parts: Sequence[Part]) -> Any:
    return _only(parts).data if parts[0].name.field == "mask" else [part.data for part in _ordered(parts)]


def _texts(parts: Sequence[Part]) -> Any:
    """One text, a list of several, or None where nothing is given."""
    if not parts:
        return None
    name = parts[0].name
    if name.index is None and not (len(parts) > 1 and name.field in (_LISTS_IN_NVEXT if name.outer else _LISTS)):
        return _text(_only(parts))
    if len({part.name.index is None for part in parts}) > 1:
        raise _twice(name)
    return [_text(part) for part in _ordered(parts)]


def _ordered(parts: Sequence[Part]) -> list[Part]:
    """By their numbers; those without one stay where they came."""
    numbers = [int(part.name.index) for part in parts if part.name.index]
    if len(set(numbers)) < len(numbers):
        raise _twice(parts[0].name)
    places = [int(part.name.index) if part.name.index else place for place, part in enumerate(parts)]
    return [part for _, part in sorted(zip(places, parts, strict=True), key=lambda item: item[0])]


def _only(parts: Sequence[Part]) -> Part:
    if len(parts) > 1:
        raise _twice(parts[0].name)
    return parts[0]


def _twice(name: PartName) -> BadRequest:
    return BadRequest(f"{name}: given more than once", str(name), code="duplicate_field")


def _text(part: Part) -> FormText:
    try:
        return FormText(part.data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRequest(f"{part.name}: not valid UTF-8 at byte {error.start}", str(part.name)) from None
