"""A tree is found by its folder or by what git has under a name, and one without a server is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.launch.child_process import ServerError
from perf.environment import commit
from perf.summaries import Record
from perf.tree_comparison import NEW, OLD, check_out, comparison_text, serve_module


def test_a_folder_is_the_tree_itself(tmp_path: Path) -> None:
    assert check_out(str(tmp_path), tmp_path / "unused") == tmp_path


@pytest.mark.skipif(commit() == "unknown", reason="not a git checkout")
def test_a_reference_is_checked_out(tmp_path: Path) -> None:
    assert check_out("HEAD", tmp_path) == tmp_path
    assert (tmp_path / "perf" / "README.md").exists()
    with pytest.raises(ServerError, match="nowhere"):
        check_out("nowhere", tmp_path)


@pytest.mark.parametrize("module", ["imagegen.launch.serve", "deploy.serve"])
def test_both_layouts_have_a_server(tmp_path: Path, module: str) -> None:
    file = tmp_path / f"{module.replace('.', '/')}.py"
    file.parent.mkdir(parents=True)
    file.touch()
    assert serve_module(tmp_path) == module


def test_a_tree_without_a_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="has none of"):
        serve_module(tmp_path)


def test_ratios_are_by_round() -> None:
    seconds = {(NEW, 0): 1.0, (OLD, 0): 2.0, (NEW, 1): 1.0, (OLD, 1): 1.0}
    records = [Record("closed loop, clients: 1", name, number, 4, 0.0, s, "") for (name, number), s in seconds.items()]
    text = comparison_text(records)
    assert "| old | 1.50x (1.00 to 2.00)" in text
