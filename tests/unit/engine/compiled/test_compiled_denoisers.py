"""An engine's denoisers find and build packages, and the engine can wait for them, forget them and end them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from imagegen.engine.collate import describe, forward
from imagegen.engine.compiled import compiled_denoisers as subject
from imagegen.engine.compiled.build import Job
from imagegen.engine.compiled.compiled_denoisers import CompiledDenoisers, compiled_denoisers
from imagegen.engine.compiled.compiled_forward import compiled_forward
from imagegen.engine.metric_families import discard
from imagegen.engine.metrics import EngineMetrics
from imagegen.engine.settings import EngineSettings
from tests.unit.engine.compiled.toys import CPU, Toy, arguments, written


class Trial:
    """Two toys; packages of theirs are whole, and cannot be loaded."""

    def __init__(self, folder: Path) -> None:
        self.modules = {"unet": Toy(), "controlnet": Toy(width=5)}
        self.counts: list[Mapping[str, int]] = []
        self.go_on = threading.Event()
        self.compiled = CompiledDenoisers(
            self.modules, CPU, folder, lambda counts: self.counts.append(counts), lambda _: None, self._build
        )

    def _build(self, job: Job, folder: Path, closed: threading.Event) -> Path:
        assert self.go_on.wait(60)
        return written(folder / "package", job.key)

    def run(self, name: str) -> None:
        with torch.inference_mode():
            forward([describe(self.modules[name], (), arguments(2), 64)])


def test_states_are_counted_and_can_be_waited_for(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    assert trial.counts == [{"building": 0, "ready": 0, "failed": 0}]
    for name in trial.modules:
        trial.run(name)
    assert trial.counts[-1] == {"building": 2, "ready": 0, "failed": 0}
    trial.go_on.set()
    trial.compiled.wait()
    assert set(trial.compiled.states().values()) == {"ready"}
    trial.run("unet")
    assert trial.counts[-1] == {"building": 0, "ready": 1, "failed": 1}
    trial.compiled.release()
    trial.compiled.close()


def test_nothing_new_is_learnt_after_the_warm_up(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.compiled.learn(False)
    trial.run("unet")
    assert trial.compiled.states() == {}
    trial.compiled.learn(True)
    trial.go_on.set()
    trial.run("unet")
    trial.compiled.wait()
    trial.compiled.close()


def test_each_denoiser_is_told_of_its_own_layers(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.compiled.take_updates({"unet": ("inner",), "text_encoder": ("other",)})
    forwards = [compiled_forward(trial.modules[name]) for name in ("unet", "controlnet")]
    assert [each and each._layers for each in forwards] == [("inner",), ()]
    trial.compiled.close()


@pytest.fixture
def metrics() -> Iterator[EngineMetrics]:
    made = EngineMetrics(discard, dict, CPU)
    yield made
    made.close()


@pytest.mark.parametrize("word", ["off", "torch"])
def test_only_aot_has_packages(word: str, tmp_path: Path, metrics: EngineMetrics) -> None:
    settings = EngineSettings.model_validate({"compile": word, "row_buckets": (16,)})
    assert compiled_denoisers(settings, {"unet": Toy()}, CPU, tmp_path, metrics) is None


@pytest.mark.parametrize(("setting", "folder"), [("packages", "here/packages"), ("/there", "/there"), ("", "default")])
def test_the_folder_is_the_configured_one(
    setting: str, folder: str, metrics: EngineMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Path] = []
    monkeypatch.setattr(subject, "user_cache_folder", lambda name: Path("default"))
    monkeypatch.setattr(subject, "CompiledDenoisers", lambda _, __, path, *___: found.append(path))
    settings = EngineSettings(compile="aot", compile_cache=setting)
    compiled_denoisers(settings, {}, CPU, Path("here"), metrics)
    assert found == [Path(folder)]
