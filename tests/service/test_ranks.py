"""An engine of two ranks in real processes: the images of one device, and nobody is left behind, whatever ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from imagegen.api.errors import Cancelled, InvalidArgument, Unavailable
from imagegen.backoff import Backoff
from imagegen.engine import Engine, EngineProcess, EngineSettings, GenerationResult
from imagegen.engine.worker import engine_process
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.adapters.made import write_adapter
from tests.unit.tiny_engine import ENDLESS, has_ended, levels, wait_until

REQUESTS: list[dict[str, Any]] = [
    {"prompt": "a red cat", "size": "64x64", "seed": 1, "num_inference_steps": 4},
    {"prompt": "a small blue boat", "size": "64x64", "seed": 2, "num_inference_steps": 2, "n": 2},
    {"prompt": "the sea", "size": "128x64", "seed": 3, "num_inference_steps": 3},
]


@pytest.fixture(autouse=True)
def without_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was there at all has been there for long."""
    monkeypatch.setattr(engine_process, "_BACKOFF", Backoff(stable_s=0.0))


def settings(folder: Path, **values: Any) -> EngineSettings:
    return EngineSettings(
        model=str(folder), max_active_requests=4, max_num_inference_steps=1000, max_expected_s=0, cpu_threads=1,
        warmup_sizes=("none",), drain_timeout_s=1, **values,
    )  # fmt: skip


def saved(pipeline: Any, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tiny.sd(), tmp_path_factory.mktemp("ranks") / "sd")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The settings of an engine with two adapters."""
    folder = tmp_path_factory.mktemp("adapters")
    for number, name in enumerate(("one", "other")):
        write_adapter(tiny.sd(), folder / f"{name}.safetensors", number, text=number == 1)
    return {"lora_folder": str(folder), "max_loras": 2}


@pytest.fixture(scope="module")
def engine(checkpoint: Path, adapters: dict[str, Any]) -> Iterator[EngineProcess]:
    with EngineProcess(settings(checkpoint, devices=("cpu", "cpu"), **adapters)) as made:
        yield made


def generate(engine: Any, **options: Any) -> npt.NDArray[np.uint8]:
    result: GenerationResult = engine.generate(options.pop("prompt"), **options)
    return result.frames


def all_at_once(engine: Any) -> list[npt.NDArray[np.uint8]]:
    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        return list(pool.map(lambda request: generate(engine, **request), REQUESTS))


def assert_same_as_on_one(engine: EngineProcess, checkpoint: Path) -> None:
    with Engine(settings(checkpoint)) as one:
        expected = [generate(one, **request) for request in REQUESTS]
    for alone, mixed, frames in zip(
        [generate(engine, **request) for request in REQUESTS], all_at_once(engine), expected, strict=True
    ):
        assert levels(alone, frames) <= 1
        assert levels(mixed, frames) <= 1


def ranks_of(engine: EngineProcess) -> list[psutil.Process]:
    assert engine.pid is not None
    return [child for child in psutil.Process(engine.pid).children() if "imagegen.engine.ranks" in child.cmdline()]


def test_by_rows_the_images_are_those_of_one_device(engine: EngineProcess, checkpoint: Path) -> None:
    assert len(ranks_of(engine)) == 1
    assert_same_as_on_one(engine, checkpoint)


def test_adapters_by_request_give_the_images_of_one_device(
    engine: EngineProcess, checkpoint: Path, adapters: dict[str, Any]
) -> None:
    """Each rank has rows of several requests, and gets those adapters alone that its rows ask for."""
    loras: list[dict[str, Any]] = [{}, {"lora": "one"}, {"lora": ["one", "other"], "lora_scale": [-0.5, 1.5]}]
    asked = [REQUESTS[0] | lora | {"seed": seed} for seed, lora in enumerate(loras * 2)]
    with Engine(settings(checkpoint, **adapters)) as one:
        expected = [generate(one, **request) for request in asked]
    for _ in range(2):
        with ThreadPoolExecutor(len(asked)) as pool:
            found = list(pool.map(lambda request: generate(engine, **request), asked))
        assert max(map(levels, found, expected)) <= 1
    assert len({frames.tobytes() for frames in expected}) == len(asked)


def test_a_cancel_in_the_middle_leaves_the_others_alone(engine: EngineProcess) -> None:
    expected = generate(engine, **REQUESTS[0])
    stream = engine.stream("a cat", request_id="mine", size="64x64", num_inference_steps=ENDLESS)
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(generate, engine, **REQUESTS[0])
        assert engine.cancel("mine")
        with pytest.raises(Cancelled):
            list(stream)
        assert levels(other.result(60), expected) <= 1


def test_a_rank_that_is_killed_ends_the_engine_which_starts_again(engine: EngineProcess) -> None:
    expected = generate(engine, **REQUESTS[0])
    (rank,) = ranks_of(engine)
    assert engine.pid is not None
    processes = [psutil.Process(engine.pid), rank]
    with ThreadPoolExecutor(1) as pool:
        begun = threading.Event()

        def endless() -> None:
            for _ in engine.stream("a cat", size="64x64", num_inference_steps=ENDLESS):
                begun.set()

        held: Future[None] = pool.submit(endless)
        assert begun.wait(60)
        rank.kill()
        with pytest.raises(Unavailable, match=r"ended \(rank\)"):
            held.result(60)
    assert levels(generate(engine, **REQUESTS[0]), expected) <= 1
    assert all(map(has_ended, processes))
    assert len({path.name.partition(".")[0] for path in engine._folder.iterdir()}) == 1  # the sockets of this one alone


LAUNCHER = """
import sys, time
from imagegen.engine import EngineProcess, EngineSettings
engine = EngineProcess(EngineSettings.model_validate_json(sys.argv[1]))
print(engine.pid, flush=True)
time.sleep(600)
"""


def test_by_context_the_images_are_those_of_one_device_and_nobody_outlives_the_launcher(tmp_path: Path) -> None:
    """Also while a rank is stopped."""
    checkpoint = saved(tiny.flux(), tmp_path / "flux")
    shared = settings(checkpoint, devices=("cpu", "cpu"), parallelism="context")
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, shared.model_dump_json(include=set(EngineSettings.model_fields))],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        with EngineProcess(shared) as engine:
            assert_same_as_on_one(engine, checkpoint)
            side = 9 * engine.granularity_px
            with pytest.raises(InvalidArgument, match=r"size: .* has 81 tokens, which 2 devices"):
                generate(engine, prompt="a cat", size=f"{side}x{side}")
        assert launcher.stdout is not None
        descendants = psutil.Process(int(launcher.stdout.readline())).children()
        descendants += psutil.Process(launcher.pid).children()
        assert len(descendants) == 2
        descendants[0].suspend()
    finally:
        launcher.kill()
        launcher.wait()
        assert launcher.stdout is not None
        launcher.stdout.close()
    wait_until(lambda: all(map(has_ended, descendants)))


def test_what_cannot_be_is_refused_by_name(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"parameter parallelism: .*; allowed is rows"):
        EngineProcess(settings(checkpoint, devices=("cpu", "cpu"), parallelism="context"))


def test_in_this_process_there_is_one_device(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="parameter devices: several need an engine in a process of its own"):
        Engine(settings(checkpoint, devices=("cpu", "cpu")))
