"""Control networks on the command line become a parameter of the diffusion model."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from imagegen.launch.control_options import add_control_options, control_parameters


def parsed(*argv: str) -> dict[str, str]:
    parser = argparse.ArgumentParser()
    add_control_options(parser)
    return control_parameters(parser.parse_args(argv).controlnets)


def test_without_any_no_parameter_is_set() -> None:
    assert parsed() == {}


def test_folders_become_absolute_and_hub_ids_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "canny").mkdir()
    assert parsed("--controlnets", "canny=canny", "depth=org/depth", "--controlnets", "union=org/union") == {
        "diffusion.controlnets": f"canny={tmp_path}/canny,depth=org/depth,union=org/union"
    }


def test_a_type_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="--controlnets: 'canny' is given twice"):
        parsed("--controlnets", "canny=org/a", "canny=org/b")
