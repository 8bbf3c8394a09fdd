"""The documents' tables say what the code does. `python tests/unit/test_docs_tables.py` writes them anew."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from diffusion_settings import DiffusionSettings
from imagegen import tensors
from imagegen.request import Caps
from loading_settings import LoadingSettings
from postprocess_settings import PostprocessSettings
from stream_settings import StreamSettings

DOCS = Path(__file__).resolve().parents[2] / "docs"
SETTINGS = {
    "diffusion": DiffusionSettings,
    "image_preprocess": LoadingSettings,
    "image_postprocess": PostprocessSettings,
    "image_generation_stream": StreamSettings,
}


def input_rows(inputs: tuple[tensors.PublicTensor, ...] = tensors.INPUTS) -> list[str]:
    return [
        f"| {t.name} | {t.data_type.replace('STRING', 'BYTES')} {list(t.dims)} | {t.default} | {t.rule} |"
        for t in inputs
    ]


def output_rows(outputs: tuple[tensors.PublicTensor, ...] = tensors.OUTPUTS) -> list[str]:
    return [f"| {t.name} | {t.data_type.replace('STRING', 'BYTES')} {list(t.dims)} | {t.rule} |" for t in outputs]


def stream_input_rows() -> list[str]:
    return [row for row in input_rows(tensors.STREAM_INPUTS) if row not in input_rows()]


def stream_output_rows() -> list[str]:
    return [row for row in output_rows(tensors.STREAM_OUTPUTS) if row not in output_rows()]


def parameter_rows() -> list[str]:
    rows = []
    for model, settings in SETTINGS.items():
        meanings = attribute_meanings(Caps) | attribute_meanings(settings)
        for field in dataclasses.fields(settings):
            rows.append(f"| {model}.{field.name} | {shown(field.default)} | {meanings[field.name]} |")
    return rows


def attribute_meanings(settings: type) -> dict[str, str]:
    """What the docstring's Attributes section says of each attribute."""
    section = (settings.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".") for name, text in entries}


def shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return "empty" if value is None else str(value)


TABLES = {
    ("api.md", "| input | type, shape | default | rule |"): input_rows,
    ("api.md", "| output | type, shape | meaning |"): output_rows,
    ("api.md", "| further input | type, shape | default | rule |"): stream_input_rows,
    ("api.md", "| output of the stream | type, shape | meaning |"): stream_output_rows,
    ("operations.md", "| parameter | default | meaning |"): parameter_rows,
}


@pytest.mark.parametrize(("document", "header"), TABLES)
def test_the_table_is_that_of_the_code(document: str, header: str) -> None:
    after = (DOCS / document).read_text().partition(header + "\n")[2].splitlines()[1:]
    assert after[: after.index("")] == TABLES[document, header]()


def write() -> None:
    for (document, header), rows in TABLES.items():
        before, _, after = (DOCS / document).read_text().partition(header + "\n")
        rule, _, rest = after.partition("\n")
        rest = rest[rest.index("\n\n") :]
        (DOCS / document).write_text(before + header + "\n" + rule + "\n" + "\n".join(rows()) + rest)


if __name__ == "__main__":
    write()
