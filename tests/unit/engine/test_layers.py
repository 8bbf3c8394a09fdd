"""The engine is a library: it, and what it is made of, import nothing of Triton, of images' codecs or of servers."""

from __future__ import annotations

import ast
from pathlib import Path

import imagegen

ALLOWED = {"api", "engine", "pipelines", "metrics", "malloc", "file_names", "user_caches"}


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_the_engine_imports_nothing_of_triton() -> None:
    package = Path(imagegen.__file__).parent
    files = [path for room in ("api", "engine", "pipelines") for path in package.glob(f"{room}/*.py")]
    assert len(files) > 30
    for path in files:
        for name in imported(path):
            assert "triton" not in name, path
            if name.startswith("imagegen."):
                assert name.split(".")[1] in ALLOWED, path
