"""The model repository is found, and another checkpoint replaces the bundled one's own defaults too."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from imagegen.launch import model_repository
from imagegen.launch.model_repository import BUNDLED_CHECKPOINT, MODEL_REPOSITORY, other_checkpoint


def test_in_a_checkout_it_is_the_folder_at_the_top() -> None:
    assert Path(__file__).resolve().parents[3] / "model_repository" == MODEL_REPOSITORY
    assert (BUNDLED_CHECKPOINT / "model_index.json").exists()


def test_in_an_installed_package_it_is_the_packages_own(tmp_path: Path) -> None:
    installed = tmp_path / "imagegen" / "launch" / "model_repository.py"
    installed.parent.mkdir(parents=True)
    (tmp_path / "imagegen" / "model_repository").mkdir()
    (tmp_path / "model_repository").mkdir()
    shutil.copy(model_repository.__file__, installed)
    spec = importlib.util.spec_from_file_location("installed", installed)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert tmp_path / "imagegen" / "model_repository" == module.MODEL_REPOSITORY


def test_another_checkpoint_is_a_hub_id_or_a_folder_by_its_whole_path(tmp_path: Path) -> None:
    assert other_checkpoint("org/name") == {
        "diffusion.model": "org/name",
        "diffusion.default_num_inference_steps": "",
        "diffusion.default_guidance_scale": "",
        "diffusion.max_area_px": "",
        "diffusion.lora_folder": "",
        "diffusion.controlnets": "",
    }
    (tmp_path / "here").mkdir()
    assert other_checkpoint(f"{tmp_path}/here/../here")["diffusion.model"] == str(tmp_path / "here")
