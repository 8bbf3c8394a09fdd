"""Adapters on the command line become parameters of the diffusion model, and what it could not tell them is refused."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from imagegen.launch.lora_options import add_lora_options, lora_parameters, named_place


def parsed(*argv: str) -> dict[str, str]:
    parser = argparse.ArgumentParser()
    add_lora_options(parser)
    given = parser.parse_args(argv)
    return lora_parameters(given.lora_modules, given.lora_folder)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with an adapter as a file and one as a folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outline.safetensors").touch()
    (tmp_path / "dusk").mkdir()
    return tmp_path


def test_without_any_no_parameter_is_set() -> None:
    assert parsed() == {}


def test_several_at_once_and_again(here: Path) -> None:
    argv = ["--lora-modules", "a=outline.safetensors", "b=org/name", "--lora-modules", f"c={here}/dusk"]
    assert parsed(*argv) == {
        "diffusion.lora_modules": f"a={here}/outline.safetensors,b=org/name,c={here}/dusk",
    }


def test_a_folder_by_its_absolute_path(here: Path) -> None:
    assert parsed("--lora-folder", "dusk") == {"diffusion.lora_folder": f"{here}/dusk"}
    assert parsed("--lora-folder=.", "--lora-modules", "a=dusk") == {
        "diffusion.lora_modules": f"a={here}/dusk",
        "diffusion.lora_folder": str(here),
    }


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        ("a=./outline.safetensors", "a", "{here}/outline.safetensors"),
        ("a=../{folder}/dusk", "a", "{here}/../{folder}/dusk"),
        ("a:b c=dusk", "a:b c", "{here}/dusk"),
        ("a=org/name=1", "a", "org/name=1"),
        ("a=org/name/file.safetensors", "a", "org/name/file.safetensors"),
        ('{"name": "a", "path": "dusk"}', "a", "{here}/dusk"),
        ('{"path": "org/name", "name": "ö"}', "ö", "org/name"),
    ],
)
def test_a_name_and_a_place(here: Path, text: str, name: str, place: str) -> None:
    text, place = (part.replace("{here}", str(here)).replace("{folder}", here.name) for part in (text, place))
    assert named_place(text) == (name, place)


def test_the_home_folder_by_its_sign(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert named_place("a=~/dusk") == ("a", f"{here}/dusk")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("outline", "'outline' is not NAME=PATH_OR_HUB_ID"),
        ("=org/name", "the name '' is not allowed"),
        ("a,b=org/name", "the name 'a,b' is not allowed; a name has 1..256 characters without comma, = and"),
        (" a=org/name", "the name ' a' is not allowed"),
        ("x" * 257 + "=org/name", "is not allowed; a name has 1..256"),
        (json.dumps({"name": "a=b", "path": "org/name"}), "the name 'a=b' is not allowed"),
        ("a=", "a: '' is no file or folder here, nor a hub id"),
        ("a=./none", "a: './none' is no file or folder here"),
        ("a=/none/none", "a: '/none/none' is no file or folder here"),
        ("a=~/none", "is no file or folder here"),
        ("a=none", "a: 'none' is no file or folder here, nor a hub id, as org/name"),
        ("a=org/na,me", "a: 'org/na,me' is not allowed; a comma stands between two adapters"),
        ("a=org/name ", "is not allowed; a comma"),
        ("a=with,comma", "is not allowed; a comma"),
        ("{", "is not a JSON object as"),
        ('{"name": "a"}', "is not a JSON object as"),
        ('{"name": "a", "path": 7}', "is not a JSON object as"),
        ('{"name": "a", "path": "org/name", "base_model_name": "b"}', "is not a JSON object as"),
    ],
)
def test_what_the_parameter_cannot_hold_is_refused_in_words(here: Path, text: str, problem: str) -> None:
    (here / "with,comma").touch()
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        named_place(text)
    assert problem in str(refused.value)


def test_a_name_twice_and_a_folder_that_is_none_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="--lora-modules: 'a' is given twice"):
        parsed("--lora-modules", "a=dusk", "b=dusk", "a=org/name")
    for folder in ("none", "outline.safetensors"):
        with pytest.raises(SystemExit):
            parsed("--lora-folder", folder)
        assert f"{folder!r} is no folder" in capsys.readouterr().err
