"""References and controls on the command line: type and scale around a file, a URL or standard input."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from imagegen_client.condition_options import add_condition_options


def parse(*argv: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_condition_options(parser)
    return {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}


def test_nothing_is_set_that_is_not_given() -> None:
    assert parse() == {}


@pytest.mark.parametrize(
    ("text", "kind", "image", "scale"),
    [
        ("canny=edge.png:0.8", "canny", Path("edge.png"), 0.8),
        ("canny=edge.png", "canny", Path("edge.png"), 1.0),
        ("edge.png:0.8", None, Path("edge.png"), 0.8),
        ("edge.png", None, Path("edge.png"), 1.0),
        ("canny=C:/edge.png", "canny", Path("C:/edge.png"), 1.0),
        ("./a=b.png", None, Path("./a=b.png"), 1.0),
        ("canny=a=b.png:.5", "canny", Path("a=b.png"), 0.5),
        ("https://a/?b=c.png", None, "https://a/?b=c.png", 1.0),
        ("depth=https://a/?b=c.png:2", "depth", "https://a/?b=c.png", 2.0),
        ("data:image/png;base64,AA==", None, "data:image/png;base64,AA==", 1.0),
    ],
)
def test_a_control_is_an_image_with_its_type_and_scale(
    text: str, kind: str | None, image: Path | str, scale: float
) -> None:
    typed = {} if kind is None else {"control_type": [kind]}
    assert parse("--control", text) == {"control_image": [image], "control_scale": [scale], **typed}


def test_several_at_once_and_one_after_another_are_the_same() -> None:
    together = parse("--control", "canny=a.png:0.5", "depth=b.png", "--reference", "c.png", "d.png")
    apart = ["--control", "canny=a.png:0.5", "--control", "depth=b.png", "--reference", "c.png", "--reference", "d.png"]
    assert together == parse(*apart)
    assert together["control_type"] == ["canny", "depth"]
    assert together["reference_image"] == [Path("c.png"), Path("d.png")]
    assert parse("--control", "a", "b", "--control-end", "0.5", "1")["control_end"] == [0.5, 1.0]


@pytest.mark.parametrize("argv", [("canny=a.png", "b.png"), ("a.png", "canny=b.png")])
def test_a_type_for_some_alone_is_refused(argv: tuple[str, str]) -> None:
    with pytest.raises(argparse.ArgumentError, match="give a type to each"):
        parse("--control", *argv)
