"""What is configured on one model reaches image_preprocess, in whatever order the models are loaded."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import NO_CONDITIONS, Conditions, RequestLimits, RequestRules
from imagegen.api.loras import LoraChoice
from imagegen.pipelines.lora_catalog import LoraCatalog
from imagegen.triton.diffusion_settings import DiffusionSettings
from imagegen.triton.run_folder import leave_run_folder
from imagegen.triton.shared_settings import SharedRules, publish_diffusion, publish_store
from tests.unit.client.test_client_description import DESCRIPTION

ROOT = Path(__file__).resolve().parents[3]
TOY = replace(DESCRIPTION, granularity_px=16)
OF_TOY: dict[str, Any] = {
    "granularity_px": 16,
    "model": "toy",
    "tasks": ("inpainting",),
    "conditions": NO_CONDITIONS,
}


def test_served_alone_the_defaults_hold(folder: Path) -> None:
    assert SharedRules(folder)() == RequestRules(limits=RequestLimits(), granularity_px=8, has_store=False)


def test_what_is_published_later_and_again_is_seen_at_once(folder: Path) -> None:
    rules = SharedRules(folder)
    assert not rules().has_store
    publish_store(folder, has_store=True)
    publish_diffusion(folder, DiffusionSettings(max_side_px=64), TOY)
    assert rules() == RequestRules(limits=RequestLimits(max_side_px=64), **OF_TOY, has_store=True)
    publish_diffusion(folder, DiffusionSettings(max_side_px=128), TOY)
    publish_store(folder, has_store=False)
    assert rules() == RequestRules(limits=RequestLimits(max_side_px=128), **OF_TOY)


def test_what_the_model_takes_of_references_and_controls_is_of_its_description(folder: Path) -> None:
    rules = SharedRules(folder)
    assert rules().conditions is None  # nobody has said
    edits = replace(
        TOY,
        tasks={"editing": (), "text-to-image": ("guidance_scale", "control_image")},
        max_references=3,
        least_reference_px=64,
        control_types=("canny", "depth"),
        max_controls=2,
        has_control_end=False,
    )
    publish_diffusion(folder, RequestLimits(), edits)
    assert rules().conditions == Conditions(
        max_references=3,
        least_reference_px=64,
        control_types=("canny", "depth"),
        max_controls=2,
        control_tasks=("text-to-image",),
        has_control_end=False,
    )


def test_the_description_is_that_of_the_latest_model(folder: Path) -> None:
    rules = SharedRules(folder)
    assert rules.description() is None
    publish_diffusion(folder, RequestLimits(), TOY)
    assert rules.description() == TOY
    publish_diffusion(folder, RequestLimits(), replace(TOY, model="another"))
    assert rules.description() == replace(TOY, model="another")


def test_a_name_that_is_not_ascii_is_written_whatever_the_locale(folder: Path) -> None:
    """The python backend's Python writes ASCII alone unless told otherwise."""
    code = (
        "import sys, dataclasses; from pathlib import Path\n"
        "from imagegen.api.limits import RequestLimits\n"
        "from imagegen.triton.shared_settings import publish_diffusion\n"
        "from tests.unit.client.test_client_description import DESCRIPTION\n"
        "toy = dataclasses.replace(DESCRIPTION, model='\\u65e5\\u672c')\n"
        "publish_diffusion(Path(sys.argv[1]), RequestLimits(), toy)"
    )
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": f"{ROOT}:{ROOT}/client"}
    subprocess.run([sys.executable, "-c", code, str(folder)], env=ascii_only, cwd=ROOT, check=True, timeout=60)
    description = SharedRules(folder).description()
    assert description is not None
    assert description.model == "日本"


def test_the_limits_alone_are_shared(folder: Path) -> None:
    publish_diffusion(folder, DiffusionSettings(model="secret/path"), TOY)
    assert type(SharedRules(folder)().limits) is RequestLimits
    (file,) = folder.iterdir()
    assert "secret" not in file.read_text()


def test_what_was_read_is_kept_until_its_file_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = SharedRules(folder)
    publish_diffusion(folder, RequestLimits(), TOY)
    first = rules()
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read again"))
    assert rules().limits is first.limits


def test_nothing_is_left_in_the_run_folder_but_while_somebody_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    publish_store(folder, has_store=True)
    (folder / "7.open").touch()
    leave_run_folder(folder)
    assert SharedRules(folder)().has_store
    (folder / "7.open").unlink()
    leave_run_folder(folder)
    assert not folder.exists()


def test_adapters_on_offer_are_those_of_the_moment(folder: Path, tmp_path: Path) -> None:
    rules, takes = SharedRules(folder), replace(TOY, takes_loras=True)
    publish_diffusion(folder, RequestLimits(), takes, LoraCatalog(modules={"a": "/a"}, folder=str(tmp_path)))
    rules.check_loras([LoraChoice("a")])
    with pytest.raises(InvalidArgument, match="lora: 'b' is not on offer; these are: 'a'"):
        rules.check_loras([LoraChoice("a"), LoraChoice("b")])
    (tmp_path / "b.safetensors").touch()
    rules.check_loras([LoraChoice("b")])
    described = rules.description()
    assert described is not None
    assert described.loras == ("a", "b")
    publish_diffusion(folder, RequestLimits(), takes)
    with pytest.raises(InvalidArgument, match="none is"):
        rules.check_loras([LoraChoice("a")])


def test_a_model_that_takes_no_adapters_says_so(folder: Path) -> None:
    rules = SharedRules(folder)
    publish_diffusion(folder, RequestLimits(), TOY, LoraCatalog(modules={"a": "/a"}))
    with pytest.raises(InvalidArgument, match="lora: the model toy takes no adapters"):
        rules.check_loras([LoraChoice("a")])
    described = rules.description()
    assert described is not None
    assert described.loras == ()
