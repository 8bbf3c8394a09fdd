"""The documents' tables say what the code does. `python -m tests.unit.test_docs_tables` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from imagegen.api import tensors
from imagegen.engine import metric_families as engine_metrics
from imagegen.images.input import metrics as input_metrics
from imagegen.images.input.errors import ImageError
from imagegen.images.input.settings import InputSettings
from imagegen.images.output import metrics as output_metrics
from imagegen.images.output.settings import OutputSettings
from imagegen.launch.triton_options import OPTIONS
from imagegen.openai.metrics import FrontendMetrics
from imagegen.openai.openai_values import RULES, UNSUPPORTED_FIELDS
from imagegen.triton.diffusion_settings import DiffusionSettings
from imagegen.triton.stream_settings import StreamSettings
from imagegen_client import ERROR_CODES
from perf.hostile.case import NO_HTTP
from perf.hostile.statuses import CLOSES, LEFT_OUT, OWN_RESPONSES
from perf.policy import comparison
from tests.monitoring_queries import alerts
from tests.on_accelerator import budgets

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SETTINGS: dict[str, type[BaseModel]] = {
    "diffusion": DiffusionSettings,
    "image_preprocess": InputSettings,
    "image_postprocess": OutputSettings,
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
    return [
        f"| {model}.{name} | {shown(field.default)} | {field.description} |"
        for model, settings in SETTINGS.items()
        for name, field in settings.model_fields.items()
    ]


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
        given = "where it is known" if option.if_known else "always"
        rows.append(f"| {option.name} | {value} | {given} | {option.reason} |")
    return rows


def openai_value_rows() -> list[str]:
    where = {True: "of references: ", False: "of other images: ", None: ""}
    rows = [
        (rule.field, ", ".join(map(str, rule.values)), str(rule.treatment), where[rule.with_references] + rule.meaning)
        for rule in RULES
    ]
    rows += [(field, "any", "refused", reason) for field, reason in UNSUPPORTED_FIELDS.items()]
    return [f"| {' | '.join(row)} |" for row in rows]


def metric_rows() -> list[str]:
    families = [*input_metrics.FAMILIES, *engine_metrics.FAMILIES, *output_metrics.FAMILIES]
    rows = [f"| {family.name} | {family.kind} | {family.meaning} |" for family in families]
    described = re.findall(r"^# HELP (\w+) (.*)\n# TYPE \w+ (\w+)", FrontendMetrics().text().decode(), re.MULTILINE)
    frontend = [entry for entry in described if entry[0].startswith("imagegen_") and not entry[0].endswith("_created")]
    return rows + [f"| {name} | {kind} | {meaning.rstrip('.')} |" for name, meaning, kind in frontend] + SUPERVISOR


# What imagegen/launch/status_endpoint.py says; tests/service/test_monitoring.py compares it with a running one.
SUPERVISOR = [
    "| imagegen_server_restarts_total | counter | Times the server was started again after a failure |",
    "| imagegen_server_ready | gauge | Whether the server serves and is ready |",
]


def own_response_rows() -> list[str]:
    statuses = {NO_HTTP: "405, 404", "": "no status"}
    rows = [
        f"| {row.way.value} | {statuses.get(row.status, row.status)} | {row.meaning} | {row.reason} |"
        for row in OWN_RESPONSES
    ]
    return rows + [f"| Triton HTTP | closed | {what} | {why} |" for what, why in CLOSES]


def left_out_rows() -> list[str]:
    return [f"| {what} | {why} |" for what, why in LEFT_OUT]


TABLES = {
    ("api.md", "| input | type, shape | default | rule |"): input_rows,
    ("api.md", "| output | type, shape | meaning |"): output_rows,
    ("api.md", "| further input | type, shape | default | rule |"): stream_input_rows,
    ("api.md", "| output of the stream | type, shape | meaning |"): stream_output_rows,
    ("engine.md", "| with | calls | launches | noise | copies to the host | waits of a forward |"): budgets.rows,
    ("openai.md", "| field | value | here | meaning |"): openai_value_rows,
    ("operations.md", "| parameter | default | meaning |"): parameter_rows,
    ("operations.md", "| load | side | short p50 ms | p95 | long p50 ms | p95 | requests/s |"): comparison.rows,
    ("operations.md", "| option | value | given | why |"): option_rows,
    ("operations.md", "| metric | kind | meaning |"): metric_rows,
    ("../perf/README.md", "| way | response | of what | why |"): own_response_rows,
    ("../perf/README.md", "| not sent | why |"): left_out_rows,
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
    rows = cells("operations.md", "| code | HTTP | gRPC | what to do |")
    documented = [(code, int(http), grpc) for code, http, grpc, _ in rows]
    assert documented == [(row.code, row.http_status, row.grpc_status) for row in ERROR_CODES.values()]
    assert all(what for *_, what in rows)


def test_every_refusal_of_an_image_has_a_row_that_says_what_to_do() -> None:
    rows = cells("operations.md", "| code of an image | what to do |")
    kinds: list[type[ImageError]] = [ImageError, *ImageError.__subclasses__()]
    assert {code for code, _ in rows} == {kind.code for kind in kinds}


def test_every_alert_has_a_row_that_says_what_to_do() -> None:
    rows = cells("operations.md", "| alert | what to do |")
    assert [name for name, _ in rows] == [rule["alert"] for rule in alerts()]


def write() -> None:
    for (document, header), rows in TABLES.items():
        before, _, after = (DOCS / document).read_text().partition(header + "\n")
        rule, _, rest = after.partition("\n")
        rest = rest[rest.index("\n\n") :]
        (DOCS / document).write_text(before + header + "\n" + rule + "\n" + "\n".join(rows()) + rest)


if __name__ == "__main__":
    write()
