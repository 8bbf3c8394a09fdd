"""The table of tested models is that of the family tests. `python -m tests.unit.test_docs_tested_models` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imagegen.pipelines.denoisers import DENOISERS
from tests.unit.engine.family_cases import CASES

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tested_models.md"
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
    if "ControlNet" in pipeline_class:
        return "text-to-image with a control image (engine only)"
    if any(kind in pipeline_class for kind in ("Img2Img", "Upscale", "InstructPix2Pix")):
        return "image-to-image"
    return "inpainting" if "Inpaint" in pipeline_class else "text-to-image"


def _listed(texts: list[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def test_the_table_of_tested_models_is_that_of_the_family_tests() -> None:
    after = DOCUMENT.read_text().partition(HEADER + "\n")[2].splitlines()[1:]
    assert after[: after.index("")] == rows()


def write() -> None:
    before, _, after = DOCUMENT.read_text().partition(HEADER + "\n")
    rule, _, rest = after.partition("\n")
    DOCUMENT.write_text(f"{before}{HEADER}\n{rule}\n" + "\n".join(rows()) + rest[rest.index("\n\n") :])


if __name__ == "__main__":
    write()
