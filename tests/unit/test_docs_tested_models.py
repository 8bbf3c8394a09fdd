"""The tables of tested models are those of the tests. `python -m tests.unit.test_docs_tested_models` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imagegen.pipelines.class_table import TABLE
from imagegen.pipelines.denoisers import DENOISERS
from imagegen.pipelines.pipeline_class import PipelineClass
from tests.unit.engine.condition_cases import CASES as CONDITION_CASES
from tests.unit.engine.family_cases import CASES

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tested_models.md"
CLASSES_HEADER = "| class | tasks | references | control images | six mixed requests |"
HEADER = "| pipeline | denoiser | task | schedulers | six requests |"


def rows() -> list[str]:
    """A row for each pipeline class and denoiser, in the order of the tests."""
    found: dict[tuple[str, str, str], tuple[list[str], list[str]]] = {}
    for make_requests, most_forwards, calls in CASES.values():
        pipelines = {type(pipeline).__name__: pipeline for pipeline, _ in make_requests()}
        first = next(iter(pipelines.values()))
        key = (
            ", ".join(pipelines),
            ", ".join(_denoisers(first)),
            ", ".join(dict.fromkeys(map(_task, pipelines))),
        )
        schedulers, sharing = found.setdefault(key, ([], []))
        schedulers.append(type(first.scheduler).__name__.removesuffix("Scheduler"))
        sharing.append(f"{calls} calls in {most_forwards} forwards")
    return [
        f"| {pipelines} | {denoisers} | {task} | {_listed(schedulers)} | {_listed(sharing)} |"
        for (pipelines, denoisers, task), (schedulers, sharing) in found.items()
    ]


def _denoisers(pipeline: Any) -> list[str]:
    modules = (getattr(pipeline, name, None) for name in DENOISERS)
    return [type(module).__name__ for module in modules if module is not None]


def _task(pipeline_class: str) -> str:
    return ", ".join(TABLE[pipeline_class].tasks)


def class_rows() -> list[str]:
    """A row for each class of the table of pipelines, in its order."""
    return [
        f"| {name} | {', '.join(row.tasks)} | {_references(row)} | {_control(row)} | {_sharing(name)} |"
        for name, row in TABLE.items()
    ]


def _references(row: PipelineClass) -> str:
    if row.references is None:
        return ""
    most = "1" if row.references.most == 1 else f"1..{row.references.most}"
    return most if row.references.least_px == 1 else f"{most}, sides of {row.references.least_px} or more"


def _control(row: PipelineClass) -> str:
    if row.control is None:
        return ""
    return row.control.network + (", several" if row.control.several or row.control.modes else ", one")


def _sharing(name: str) -> str:
    cases = [case for case in CONDITION_CASES.values() if name in case.classes]
    return _listed([f"{case.calls} calls in {case.forwards} forwards" for case in cases])


def _listed(texts: list[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def test_the_table_of_tested_models_is_that_of_the_family_tests() -> None:
    after = DOCUMENT.read_text().partition(HEADER + "\n")[2].splitlines()[1:]
    assert after[: after.index("")] == rows()


def test_the_table_of_classes_is_that_of_the_code_and_of_the_matrix() -> None:
    after = DOCUMENT.read_text().partition(CLASSES_HEADER + "\n")[2].splitlines()[1:]
    assert after[: after.index("")] == class_rows()


def write() -> None:
    for header, lines in ((HEADER, rows()), (CLASSES_HEADER, class_rows())):
        before, _, after = DOCUMENT.read_text().partition(header + "\n")
        rule, _, rest = after.partition("\n")
        DOCUMENT.write_text(f"{before}{header}\n{rule}\n" + "\n".join(lines) + rest[rest.index("\n\n") :])


if __name__ == "__main__":
    write()
