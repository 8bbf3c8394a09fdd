"""API keys from a file and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.openai.auth import ANONYMOUS, Keys
from imagegen.openai.errors import KeyRefused


def test_without_keys_everybody_is_let_in() -> None:
    assert Keys.load(None, {}).name(None) == ANONYMOUS
    assert Keys.load(None, {"IMAGEGEN_API_KEYS": " , "}).name("Bearer x") == ANONYMOUS


def test_names_and_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# comment\n alice : one \n\ntwo\n")
    keys = Keys.load(file, {"IMAGEGEN_API_KEYS": "bob:three"})
    assert [keys.name(f"Bearer {key}") for key in ("one", "two", "three")] == ["alice", "key-2", "bob"]
    assert keys.name("bearer  one") == "alice"


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "one", "Basic one", "Bearer on", "Bearer one two", "Bearer \udcff"]
)
def test_others_are_refused(given: str | None) -> None:
    with pytest.raises(KeyRefused):
        Keys.load(None, {"IMAGEGEN_API_KEYS": "alice:one"}).name(given)


def test_keys_are_not_kept() -> None:
    assert "one-secret" not in repr(vars(Keys.load(None, {"IMAGEGEN_API_KEYS": "one-secret"})))


@pytest.mark.parametrize("text", ["", "# nobody\n", "alice:\n"])
def test_a_file_without_a_key_does_not_open_the_door(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ValueError, match="key"):
        Keys.load(file, {})
