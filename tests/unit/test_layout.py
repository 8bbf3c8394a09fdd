"""The tree keeps its rules: tests mirror the source, files stay short, and the README's folder table is right."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "tests" / "unit"
LONGEST_FILE_LINES = 300

UNTESTED_ALONE: dict[str, str] = {
    "imagegen/engine/generation_result.py": "fields alone",
    "imagegen/engine/metric_families.py": "a table, which test_docs_tables.py compares with the documents'",
    "imagegen/pipelines/denoisers.py": "a constant",
}
"""Modules without a test file of their own, and why."""


def tracked(*patterns: str) -> list[Path]:
    """Files of the project, as paths from its root, that match a pattern of git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def test_every_module_has_a_test_file_that_mirrors_it() -> None:
    missing = []
    for module in tracked("imagegen/*.py"):
        if module.stem in ("__init__", "__main__"):
            continue
        folder = UNIT / module.relative_to("imagegen").parent
        if not list(folder.glob(f"test_{module.stem}*.py")):
            missing.append(str(module))
    assert sorted(missing) == sorted(UNTESTED_ALONE)


def test_files_are_short() -> None:
    lines = {str(path): (ROOT / path).read_text().count("\n") for path in tracked("*.py", "*.sh")}
    assert {path: count for path, count in lines.items() if count >= LONGEST_FILE_LINES} == {}


def test_adapters_of_the_models_are_readable_and_alone() -> None:
    files = tracked("model_repository/*.py")
    assert files
    assert {path.name for path in files} == {"model.py"}
    assert {str(path): n for path in files if (n := (ROOT / path).read_text().count("\n")) >= 80} == {}


def test_the_readmes_folder_table_is_the_tree() -> None:
    section = (ROOT / "README.md").read_text().partition("## The tree\n")[2]
    rows = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\) \| (.+) \|$", section, re.MULTILINE)
    assert [folder for folder, target, _ in rows if folder != target] == []
    folders = {path.parts[0] for path in tracked() if len(path.parts) > 1 and not path.parts[0].startswith(".")}
    packages = {"/".join(path.parts[:2]) for path in tracked("imagegen/*/*.py")}
    assert {folder for folder, _, _ in rows} == folders | packages
