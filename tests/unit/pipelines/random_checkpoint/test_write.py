"""A written checkpoint is a whole one: diffusers and the engine load it and generate finite images with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from imagegen.engine import Engine
from imagegen.engine.module_proxy import unwrapped
from imagegen.pipelines.random_checkpoint.architecture import Architecture
from imagegen.pipelines.random_checkpoint.write import RandomCheckpoint
from tests.unit.pipelines.random_checkpoint.small_architectures import SMALL_ARCHITECTURES

LOWEST_STD, HIGHEST_STD = 0.01, 100.0


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Written(NamedTuple):
    name: str
    architecture: Architecture
    folder: Path
    checkpoint: RandomCheckpoint


@pytest.fixture(scope="module", params=SMALL_ARCHITECTURES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("checkpoints") / "new" / request.param
    architecture = SMALL_ARCHITECTURES[request.param].cut(1 if request.param == "sdxl" else 2)
    checkpoint = RandomCheckpoint(architecture, torch.bfloat16)
    checkpoint.write(folder, shard_bytes=500_000)
    return Written(request.param, architecture, folder, checkpoint)


@pytest.fixture(scope="module")
def engine(written: Written) -> Iterator[Engine]:
    with Engine.load(written.folder, dtype="bfloat16", device="cpu", warmup_sizes="none") as loaded:
        yield loaded


def pipeline_of(engine: Engine) -> Any:
    return engine.pipelines.tasks["text-to-image"].pipeline


def network_of(engine: Engine, component: str) -> Any:
    return unwrapped(getattr(pipeline_of(engine), component))


def test_diffusers_loads_all_weights_as_they_were_written(written: Written, engine: Engine) -> None:
    assert type(pipeline_of(engine)) is written.architecture.pipeline
    assert type(pipeline_of(engine).scheduler) is type(written.architecture.scheduler())
    for name, network in written.architecture.networks.items():
        loaded = network_of(engine, name)
        assert type(loaded) is network.model
        files = list((written.folder / name).glob("*.safetensors"))
        saved = {key: value for file in files for key, value in load_file(file).items()}
        found = loaded.state_dict()
        assert saved.keys() >= {key for key, _ in loaded.named_parameters()}
        assert all(torch.equal(value, found[key]) and value.dtype == found[key].dtype for key, value in saved.items())


def test_the_engine_generates_with_it_and_activations_stay_in_range(written: Written, engine: Engine) -> None:
    spread: dict[str, float] = {}
    for name in written.architecture.networks:
        watch(name, network_of(engine, name), spread)
    result = engine.generate("a cat on a boat", size=(64, 64), num_inference_steps=2, seed=1)
    [frame] = result.frames
    assert frame.shape == (64, 64, 3)
    assert frame.std() > 3, "the image is to be noise, not one colour"
    assert {name.partition(".")[0] for name in spread} == set(written.architecture.networks)
    assert {name: value for name, value in spread.items() if not LOWEST_STD < value < HIGHEST_STD} == {}


def watch(component: str, network: torch.nn.Module, spread: dict[str, float]) -> None:
    """Note the standard deviation of what blocks, and the network as a whole, return."""
    for name, module in network.named_modules():
        if not name or "Block" in type(module).__name__ or "Layer" in type(module).__name__:
            module.register_forward_hook(
                lambda _, args, output, key=f"{component}.{name}": spread.update({key: deviation(output)})
            )


def deviation(output: Any) -> float:
    """Of the last tensor in it: SD3's last block has no text to return, and says so first."""
    while not isinstance(output, torch.Tensor):
        parts = output if isinstance(output, (tuple, list)) else list(output.values())
        output = next(part for part in reversed(parts) if part is not None)
    return float(output.float().std())


def test_nothing_but_what_was_announced_is_written(written: Written) -> None:
    files = [path for path in written.folder.rglob("*") if path.is_file()]
    weights = {name: 0 for name in written.checkpoint.size.weights_bytes}
    for path in files:
        if path.suffix == ".safetensors":
            header = int.from_bytes(path.read_bytes()[:8], "little") + 8
            weights[path.parent.name] += path.stat().st_size - header
    assert weights == written.checkpoint.size.weights_bytes
    assert sum(path.stat().st_size for path in files) <= written.checkpoint.size.total_bytes
    assert [path.name for path in written.folder.parent.iterdir()] == [written.name]


def test_the_index_names_every_component(written: Written) -> None:
    index = json.loads((written.folder / "model_index.json").read_text())
    architecture = written.architecture
    assert index["_class_name"] == architecture.pipeline.__name__
    parts = {path.name for path in written.folder.iterdir() if path.is_dir()}
    assert parts == {*architecture.networks, *architecture.tokenizers, "scheduler"}
    assert {name for name, value in index.items() if isinstance(value, list) and value[0]} == parts


@pytest.fixture
def checkpoint() -> RandomCheckpoint:
    return RandomCheckpoint(SMALL_ARCHITECTURES["sd15"].cut(1), torch.bfloat16)


@pytest.mark.parametrize("kind", ["folder", "file", "link to nothing"])
def test_a_folder_that_exists_stays_as_it_is(checkpoint: RandomCheckpoint, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "there"
    if kind == "folder":
        folder.mkdir()
    elif kind == "file":
        folder.write_text("text")
    else:
        folder.symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match=r"^folder: .*there exists; name one that does not exist yet$"):
        checkpoint.write(folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    checkpoint: RandomCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = checkpoint.size.total_bytes
    usage = shutil.disk_usage(tmp_path)
    asked: list[Path] = []

    def small_disk(path: Path) -> Any:
        asked.append(path)
        return usage._replace(free=needed - 1)

    monkeypatch.setattr(shutil, "disk_usage", small_disk)
    folder = tmp_path / "new" / "inner" / "checkpoint"
    with pytest.raises(OSError, match=r"^folder: .* needs 0\.1 GB, and 0\.1 GB are free there; take another disk"):
        checkpoint.write(folder)
    assert asked == [tmp_path]
    assert list(tmp_path.iterdir()) == []


def test_what_fails_half_way_leaves_nothing(
    checkpoint: RandomCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(component: str, count: int) -> None:
        if component == "vae":
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        checkpoint.write(tmp_path / "checkpoint", disk_full)
    assert list(tmp_path.iterdir()) == []
