"""The documents' tables say what the code does. `python tests/unit/test_docs_tables.py` writes them anew."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from imagegen.api import tensors
from imagegen.api.errors import ImageGenError
from imagegen.api.request import Caps
from imagegen.engine import metrics as measures
from imagegen.engine.settings import DiffusionSettings
from imagegen.images.input import metrics as loading_metrics
from imagegen.images.input.errors import Refused
from imagegen.images.input.settings import LoadingSettings
from imagegen.images.output import metrics as postprocess_measures
from imagegen.images.output.settings import PostprocessSettings
from imagegen.launch.triton_options import OPTIONS
from imagegen.openai.metrics import Measures as FrontendMeasures
from imagegen.triton.stream_settings import StreamSettings
from tests.monitoring_queries import alerts

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
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


def option_rows() -> list[str]:
    rows = []
    for option in OPTIONS:
        value = option.value.replace("{admin_key}", "KEY").replace("{exit_timeout_s}", "set by the supervisor")
        since = "" if option.since == OPTIONS[0].since else "{}.{:02}".format(*option.since)
        rows.append(f"| {option.name} | {value} | {since} | {option.reason} |")
    return rows


def metric_rows() -> list[str]:
    families = [*loading_metrics.FAMILIES, *measures.FAMILIES, *postprocess_measures.FAMILIES]
    rows = [f"| {family.name} | {family.kind} | {family.meaning} |" for family in families]
    described = re.findall(r"^# HELP (\w+) (.*)\n# TYPE \w+ (\w+)", FrontendMeasures().text().decode(), re.MULTILINE)
    frontend = [entry for entry in described if entry[0].startswith("imagegen_") and not entry[0].endswith("_created")]
    return rows + [f"| {name} | {kind} | {meaning.rstrip('.')} |" for name, meaning, kind in frontend] + SUPERVISOR


# What deploy/status_endpoint.py says; tests/service/test_monitoring.py compares it with a running one.
SUPERVISOR = [
    "| imagegen_server_restarts_total | counter | Times the server was started again after a failure |",
    "| imagegen_server_ready | gauge | Whether the server serves and is ready |",
]


TABLES = {
    ("api.md", "| input | type, shape | default | rule |"): input_rows,
    ("api.md", "| output | type, shape | meaning |"): output_rows,
    ("api.md", "| further input | type, shape | default | rule |"): stream_input_rows,
    ("api.md", "| output of the stream | type, shape | meaning |"): stream_output_rows,
    ("operations.md", "| parameter | default | meaning |"): parameter_rows,
    ("operations.md", "| option | value | since | why |"): option_rows,
    ("operations.md", "| metric | kind | meaning |"): metric_rows,
}


@pytest.mark.parametrize(("document", "header"), TABLES)
def test_the_table_is_that_of_the_code(document: str, header: str) -> None:
    assert table(document, header) == TABLES[document, header]()


def table(document: str, header: str) -> list[str]:
    """The rows below a header."""
    after = (DOCS / document).read_text().partition(header + "\n")[2].splitlines()[1:]
    return after[: after.index("")]


def cells(document: str, header: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table(document, header)]


def test_every_error_has_a_row_that_says_what_to_do() -> None:
    grpc = {"INVALID_ARG": "INVALID_ARGUMENT"}
    errors = errors_below(ImageGenError)
    wanted = {(e.code, str(e.http_status), grpc.get(e.triton_code, e.triton_code)) for e in errors}
    rows = cells("operations.md", "| code | HTTP | gRPC | what to do |")
    assert {(code, http, status) for code, http, status, _ in rows} == wanted
    assert all(what for *_, what in rows)


def errors_below(error: type[ImageGenError]) -> list[type[ImageGenError]]:
    below = error.__subclasses__()
    return below + [e for child in below for e in errors_below(child)]


def test_every_refusal_of_an_image_has_a_row_that_says_what_to_do() -> None:
    rows = cells("operations.md", "| code of an image | what to do |")
    kinds: list[type[Refused]] = [Refused, *Refused.__subclasses__()]
    assert {code for code, _ in rows} == {kind.code for kind in kinds}


def test_every_alert_has_a_row_that_says_what_to_do() -> None:
    rows = cells("operations.md", "| alert | what to do |")
    assert [name for name, _ in rows] == [rule["alert"] for rule in alerts()]


@pytest.mark.parametrize("document", sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")]), ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = document.parent / name if name else document
        assert linked.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", (linked / "README.md" if linked.is_dir() else linked).read_text(), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, target


def write() -> None:
    for (document, header), rows in TABLES.items():
        before, _, after = (DOCS / document).read_text().partition(header + "\n")
        rule, _, rest = after.partition("\n")
        rest = rest[rest.index("\n\n") :]
        (DOCS / document).write_text(before + header + "\n" + rule + "\n" + "\n".join(rows()) + rest)


if __name__ == "__main__":
    write()
