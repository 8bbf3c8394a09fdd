"""What is configured on one model reaches image_preprocess, in whatever order the models are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.api.limits import RequestLimits, RequestRules
from imagegen.triton.diffusion_settings import DiffusionSettings
from imagegen.triton.run_folder import leave_run_folder
from imagegen.triton.shared_settings import SharedRules, publish_diffusion, publish_store


def test_served_alone_the_defaults_hold(folder: Path) -> None:
    assert SharedRules(folder)() == RequestRules(limits=RequestLimits(), granularity_px=8, has_store=False)


def test_what_is_published_later_and_again_is_seen_at_once(folder: Path) -> None:
    rules = SharedRules(folder)
    assert not rules().has_store
    publish_store(folder, has_store=True)
    publish_diffusion(folder, DiffusionSettings(max_side_px=64), 16)
    assert rules() == RequestRules(limits=RequestLimits(max_side_px=64), granularity_px=16, has_store=True)
    publish_diffusion(folder, DiffusionSettings(max_side_px=128), 16)
    publish_store(folder, has_store=False)
    assert rules() == RequestRules(limits=RequestLimits(max_side_px=128), granularity_px=16)


def test_the_limits_alone_are_shared(folder: Path) -> None:
    publish_diffusion(folder, DiffusionSettings(model="secret/path"), 8)
    assert type(SharedRules(folder)().limits) is RequestLimits
    (file,) = folder.iterdir()
    assert "secret" not in file.read_text()


def test_what_was_read_is_kept_until_its_file_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = SharedRules(folder)
    publish_diffusion(folder, RequestLimits(), 8)
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
