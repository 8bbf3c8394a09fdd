"""The options that offer LoRA adapters: `--lora-modules`, in the forms of vLLM's, and `--lora-folder`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from imagegen.api.limits import MAX_LORA_NAME_CHARACTERS


def add_lora_options(parser: argparse.ArgumentParser) -> None:
    """Add them; they give `lora_modules`, a list of pairs of name and place, and `lora_folder`."""
    parser.add_argument(
        "--lora-modules",
        metavar="NAME=PATH_OR_HUB_ID",
        type=named_place,
        nargs="+",
        action="extend",
        default=[],
        help="LoRA adapters that requests may name: files, folders or hub ids; repeatable",
    )
    parser.add_argument(
        "--lora-folder",
        metavar="DIR",
        type=_folder,
        help="each *.safetensors in it is an adapter by its name, also one that comes later",
    )


def named_place(text: str) -> tuple[str, str]:
    """Name and place of `NAME=PATH_OR_HUB_ID`, or of a JSON object with `name` and `path`; a local path is absolute.

    Raises:
        argparse.ArgumentTypeError: it is of neither form, or the name or the place cannot be told to the server.
    """
    if text.startswith("{"):
        name, place = _of_json(text)
    else:
        name, equals, place = text.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH_OR_HUB_ID")
    # A comma stands between two adapters in the server's parameter, `=` behind a name, and blanks do not count there.
    if name != name.strip() or not 1 <= len(name) <= MAX_LORA_NAME_CHARACTERS or "," in name or "=" in name:
        allowed = f"1..{MAX_LORA_NAME_CHARACTERS} characters without comma, = and blanks around them"
        raise argparse.ArgumentTypeError(f"the name {name!r} is not allowed; a name has {allowed}")
    return name, _placed(name, place)


def lora_parameters(modules: Sequence[tuple[str, str]], folder: Path | None) -> dict[str, str]:
    """The parameters that offer these adapters.

    Args:
        modules: pairs of name and place, as `named_place` gives them.
        folder: as `--lora-folder` gives it.

    Returns:
        `{"model.parameter": value}`, only of what was given.

    Raises:
        ValueError: a name is given twice.
    """
    names = [name for name, _ in modules]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ValueError(f"--lora-modules: {name!r} is given twice")
    parameters = {}
    if modules:
        parameters["diffusion.lora_modules"] = ",".join(f"{name}={place}" for name, place in modules)
    if folder is not None:
        parameters["diffusion.lora_folder"] = str(folder)
    return parameters


def _of_json(text: str) -> tuple[str, str]:
    try:
        given = json.loads(text)
    except ValueError:
        given = {}
    name, place = given.get("name"), given.get("path")
    if set(given) != {"name", "path"} or not (isinstance(name, str) and isinstance(place, str)):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a JSON object as {{"name": "NAME", "path": "PATH_OR_HUB_ID"}}'
        )
    return name, place


def _placed(name: str, place: str) -> str:
    """A file or folder by its absolute path, and anything else that may be a hub id as it is."""
    local = Path(place).expanduser()
    if place and local.exists():
        place = str(local.absolute())
    elif place.startswith((".", "/", "~")) or "/" not in place:
        raise argparse.ArgumentTypeError(f"{name}: {place!r} is no file or folder here, nor a hub id, as org/name")
    if "," in place or place != place.strip():
        problem = "a comma stands between two adapters, and blanks around one do not count"
        raise argparse.ArgumentTypeError(f"{name}: {place!r} is not allowed; {problem}")
    return place


def _folder(text: str) -> Path:
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder")
    return folder
