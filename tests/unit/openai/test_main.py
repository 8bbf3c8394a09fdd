"""`python -m imagegen.openai`: starts that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.openai.__main__ import main


@pytest.mark.parametrize("options", [["--keys-file", "/no/such/file"], ["--max-body-bytes", "none"]])
def test_a_wrong_setting_ends_the_start(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options) == 1
    assert options[1] in capsys.readouterr().err


def test_an_empty_key_file_ends_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keys").write_text("# nobody\n")
    assert main(["--keys-file", str(tmp_path / "keys")]) == 1
    assert "holds no key" in capsys.readouterr().err
