"""A test that asserts nothing proves nothing: every one asserts, by itself or through what it calls in tests/."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> list[tuple[Path, Function]]:
    """Every function and method below tests/, nested ones too."""
    return [
        (path, node)
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, Function)
    ]


def uses(function: Function) -> set[str]:
    """The names that it mentions, by their last part; `assert` is one."""
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            names.add("assert")
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    return names


def names_that_assert(used: list[tuple[str, set[str]]]) -> set[str]:
    """Names of functions that assert or expect an exception or a warning, by themselves or through one another."""
    names = {"assert", "AssertionError", "raises", "warns", "fail"}
    while more := {name for name, its_names in used if its_names & names} - names:
        names |= more
    return names


def test_every_test_asserts_something() -> None:
    used = [(path, function.name, uses(function)) for path, function in functions()]
    asserting = names_that_assert([(name, its_names) for _, name, its_names in used])
    tests = [(path, name, its_names) for path, name, its_names in used if name.startswith("test_")]
    assert len(tests) > 100
    assert [f"{path.relative_to(TESTS)}: {name}" for path, name, its_names in tests if not its_names & asserting] == []


def test_a_test_without_an_assertion_would_be_found() -> None:
    code = "def test_a():\n    print(1)\ndef test_b():\n    helper()\ndef helper():\n    assert True\n"
    used = [(node.name, uses(node)) for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    asserting = names_that_assert(used)
    assert [name for name, its_names in used if not its_names & asserting] == ["test_a"]
