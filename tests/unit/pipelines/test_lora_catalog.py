"""What requests may name is what is there now; nothing leads out of it, and a refusal says what is on offer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.api.errors import InvalidArgument
from imagegen.api.loras import LoraChoice
from imagegen.pipelines.lora_catalog import LoraCatalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two adapters, and with what is none; beside it a file that is not on offer."""
    (tmp_path / "secret.safetensors").touch()
    folder = tmp_path / "loras"
    (folder / "folder.safetensors").mkdir(parents=True)
    for name in ("outline.safetensors", "dusk.safetensors", "notes.txt", "weights.bin"):
        (folder / name).touch()
    return folder


def offering(folder: Path | str = "", **modules: str) -> LoraCatalog:
    return LoraCatalog(modules=modules, folder=str(folder))


def test_without_any_nothing_is_on_offer() -> None:
    assert LoraCatalog().names() == ()
    LoraCatalog().check([])
    with pytest.raises(InvalidArgument, match=r"^invalid_argument: lora: 'a' is not on offer; none is$"):
        LoraCatalog().check([LoraChoice("a")])


def test_named_ones_and_those_of_the_folder_are_on_offer(folder: Path) -> None:
    catalog = offering(folder, sketch="org/sketch")
    assert catalog.names() == ("dusk", "outline", "sketch")
    assert catalog.where("sketch") == "org/sketch"
    assert catalog.where("outline") == str(folder / "outline.safetensors")
    catalog.check([LoraChoice("sketch", 0.5), LoraChoice("dusk")])


def test_a_name_that_is_given_goes_before_a_file_of_that_name(folder: Path) -> None:
    catalog = offering(folder, outline="org/outline")
    assert catalog.names() == ("dusk", "outline")
    assert catalog.where("outline") == "org/outline"


def test_a_new_file_is_on_offer_at_once_and_one_that_is_gone_no_longer(folder: Path) -> None:
    catalog = offering(folder)
    (folder / "new.safetensors").touch()
    (folder / "dusk.safetensors").unlink()
    assert catalog.names() == ("new", "outline")
    assert catalog.where("new") == str(folder / "new.safetensors")
    with pytest.raises(InvalidArgument, match="'dusk' is not on offer; these are: 'new', 'outline'"):
        catalog.where("dusk")


def test_a_link_in_the_folder_is_the_administrators_own(folder: Path) -> None:
    (folder / "linked.safetensors").symlink_to(folder.parent / "secret.safetensors")
    (folder / "broken.safetensors").symlink_to(folder / "nowhere")
    catalog = offering(folder)
    assert catalog.names() == ("dusk", "linked", "outline")
    assert catalog.where("linked") == str(folder / "linked.safetensors")


def test_a_folder_that_vanishes_takes_its_adapters_along(folder: Path, tmp_path: Path) -> None:
    catalog = offering(folder, sketch="org/sketch")
    folder.rename(tmp_path / "elsewhere")
    assert catalog.names() == ("sketch",)
    with pytest.raises(InvalidArgument, match="'outline' is not on offer; these are: 'sketch'"):
        catalog.where("outline")


ESCAPES = [
    *("", ".", "..", "/", "../secret", "../loras/outline", "./outline", "outline/", "/etc/passwd", "x/outline"),
    *("outline\0", "\0", "../secret\0", "https://host/a.safetensors", "file:///etc/passwd", "outline.safetensors"),
    *("folder", "notes", "x" * 256, "ö" * 200, "\ud800"),
]


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_leads_out_of_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="is not on offer; these are: 'dusk', 'outline'") as refused:
        offering(folder).where(name)
    assert refused.value.field == "lora"


@given(st.text(max_size=300))
def test_any_name_is_on_offer_or_refused(name: str) -> None:
    catalog = LoraCatalog(modules={"a": "/a"}, folder="/nowhere", prefixes=("org/",))
    with suppress(InvalidArgument):
        where = catalog.where(name)
        assert (name, where) == ("a", "/a") or (name.startswith("org/") and where == name)


@pytest.mark.parametrize(
    ("prefixes", "name", "allowed"),
    [
        (("org/",), "org/adapter", True),
        (("org/",), "org/adapter:weights.safetensors", True),
        (("org/",), "organisation/adapter", False),
        (("org/",), "other/adapter", False),
        (("org/",), "org/../other/adapter", False),
        (("org/", "/adapters/"), "/adapters/a.safetensors", True),
        (("/adapters/",), "/adapters/../etc/passwd", False),
        (("/adapters/",), "/adapters/..", False),
        (("/adapters/",), "/adapters/a..b", True),
        (("https://",), "https://host/a", False),
        (("",), "file://etc/passwd", False),
        ((), "org/adapter", False),
        ((), "", False),
        ((), "\0", False),
        (("/adapters/",), "/adapters/a\0b", False),
    ],
)
def test_a_prefix_lets_requests_name_what_begins_with_it(prefixes: tuple[str, ...], name: str, allowed: bool) -> None:
    catalog = LoraCatalog(prefixes=prefixes)
    if allowed:
        assert catalog.where(name) == name
    else:
        with pytest.raises(InvalidArgument, match="is not on offer"):
            catalog.where(name)


def test_a_refusal_names_some_of_many_and_shows_a_part_of_what_is_long() -> None:
    catalog = offering(**{f"adapter-{number:03}": "/a" for number in range(100)}, **{"x" * 100: "/x"})
    with pytest.raises(InvalidArgument) as refused:
        catalog.check([LoraChoice("adapter-000"), LoraChoice("y" * 256)])
    message = str(refused.value)
    assert "y" * 57 + "…" in message or "y" * 59 + "…" in message
    assert "these are: 'adapter-000', 'adapter-001'" in message
    assert message.endswith("'adapter-019' and 81 more")
    assert len(message) < 600


def test_a_catalog_is_never_changed() -> None:
    catalog: Any = offering(a="/a")
    with pytest.raises(ValueError, match="frozen"):
        catalog.folder = "/"
