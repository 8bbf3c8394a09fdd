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


def asserts_itself(function: Function) -> bool:
    """Whether it has an `assert`, raises an AssertionError, or expects an exception or a warning."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Attribute) and node.attr in ("raises", "warns", "fail"):
            return True
        if isinstance(node, ast.Name) and node.id == "AssertionError":
            return True
    return False


def called_names(function: Function) -> set[str]:
    """What it calls or hands to others, by the last part of the name."""
    nodes = list(ast.walk(function))
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }


def names_that_assert(found: list[tuple[Path, Function]]) -> set[str]:
    """Names of functions that assert, directly or through one another."""
    names = {function.name for _, function in found if asserts_itself(function)}
    while True:
        more = {function.name for _, function in found if called_names(function) & names} - names
        if not more:
            return names
        names |= more


def test_every_test_asserts_something() -> None:
    found = functions()
    asserting = names_that_assert(found)
    tests = [(path, function) for path, function in found if function.name.startswith("test_")]
    assert len(tests) > 100
    idle = [
        f"{path.relative_to(TESTS)}: {function.name}"
        for path, function in tests
        if not asserts_itself(function) and not called_names(function) & asserting
    ]
    assert idle == []


def test_a_test_without_an_assertion_would_be_found() -> None:
    idle, asserting = ast.parse("def test_a():\n    print(1)\ndef test_b():\n    assert print\n").body
    assert isinstance(idle, ast.FunctionDef)
    assert isinstance(asserting, ast.FunctionDef)
    assert not asserts_itself(idle)
    assert asserts_itself(asserting)
