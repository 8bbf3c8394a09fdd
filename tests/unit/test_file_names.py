"""Names of files with any characters, in a Python that knows ASCII names alone, as that of Triton's python backend."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from imagegen.file_names import is_plain, native, shown, temporary_folder, with_plain_name

NAME = "a b#c%20d%é日本"
ROOT = Path(__file__).resolve().parents[2]
# Writes a file by a name from a configuration, through a library in Rust too, and prints what it is called.
IN_ASCII = """
import sys
from pathlib import Path
from safetensors import safe_open
from tokenizers import Tokenizer, models
from imagegen.file_names import native, shown, with_plain_name
assert sys.getfilesystemencoding() == "ascii", sys.getfilesystemencoding()
folder = Path(native(sys.stdin.buffer.read().decode()))
folder.mkdir()
with with_plain_name(folder) as plain:
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(plain / "tokenizer.json"))
    assert Tokenizer.from_file(str(plain / "tokenizer.json")).get_vocab() == {"a": 0}
assert not plain.exists()
assert [path.name for path in folder.iterdir()] == ["tokenizer.json"]
sys.stdout.buffer.write(shown(folder).encode())
"""


def test_a_python_that_knows_ascii_alone_opens_every_folder(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-W", "ignore", "-c", IN_ASCII]
    printed = subprocess.run(
        command, input=str(folder).encode(), env=ascii_only, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60
    ).stdout
    assert printed.decode() == str(folder)
    assert (folder / "tokenizer.json").is_file()


def test_where_python_knows_all_names_they_stay_as_they_are() -> None:
    assert native(NAME) == shown(NAME) == shown(Path(NAME)) == NAME


def test_a_plain_name_needs_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path("/some/folder-1.0_x+y")
    with with_plain_name(plain) as same:
        assert same is plain
    odd = tmp_path / NAME
    odd.mkdir()
    (odd / "inside").touch()
    monkeypatch.chdir(tmp_path)
    with with_plain_name(Path(NAME)) as link:
        assert is_plain(link)
        assert (link / "inside").exists()
    assert (odd / "inside").exists()


@pytest.mark.parametrize("character", [" ", "#", "%", "é", "'", '"', "$", ";", ":", "\n"])
def test_what_a_shell_or_a_library_may_misunderstand_is_not_plain(
    character: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_plain(f"/tmp/a{character}b")
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/a{character}b")
    assert temporary_folder() == Path("/tmp")
