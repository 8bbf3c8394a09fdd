"""Texts of the command line: which are files, addresses or standard input, and which end in a scale."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from imagegen_client.option_values import image, name_and_scale


@pytest.mark.parametrize(
    ("text", "name", "scale"),
    [
        ("outline", "outline", 1.0),
        ("outline:0.8", "outline", 0.8),
        ("outline:-2", "outline", -2.0),
        ("outline:.5", "outline", 0.5),
        ("a:b:1.", "a:b", 1.0),
        ("org/name:file.safetensors", "org/name:file.safetensors", 1.0),
        ("org/name:file.safetensors:0", "org/name:file.safetensors", 0.0),
        ("a:1:1", "a:1", 1.0),
        ("a:", "a:", 1.0),
        (":1", ":1", 1.0),
        ("a:nan", "a:nan", 1.0),
        ("a:1_0", "a:1_0", 1.0),
        ("a:.", "a:.", 1.0),
        ("a:\u0661", "a:\u0661", 1.0),
    ],
)
def test_only_a_number_behind_the_last_colon_is_a_scale(text: str, name: str, scale: float) -> None:
    assert name_and_scale(text) == (name, scale)


def test_image_from_standard_input_a_file_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\x89PNG")))
    assert image("-") == b"\x89PNG"
    assert image("a.png") == Path("a.png")
    for address in ("data:image/png;base64,AA==", "https://example.org/a.png"):
        assert image(address) == address
