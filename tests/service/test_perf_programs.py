"""The measurements run to their end, every result is right, and the report has their parts.

Nothing is asserted on times: see perf/README.md for what they are good for.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import subprocess
import sys
import urllib.request
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from imagegen.launch.embedded_server import EmbeddedServer
from perf import __main__ as runner
from perf import frontend, scaling, soak, stages
from perf.baselines.server import BaselineServer
from perf.baselines.triton_server import PlainTritonServer
from perf.engine_crashes.kinds import KINDS
from perf.engine_crashes.leftovers import held
from perf.engine_crashes.outcomes import Result
from perf.engine_crashes.trial import Trial, serving
from perf.engine_crashes.users import WAYS
from perf.environment import ROOT
from perf.hostile.run import Settings as HostileSettings
from perf.real_sizes import questions
from perf.real_sizes.serving import ServeProcess
from perf.result_check import ResultCheck
from perf.traces import own_request
from perf.tree_comparison import NEW, OLD, compare, comparison_text
from perf.workload import SHORT_STEPS

_SMALL: dict[str, Any] = {
    "stages": stages.Settings(requests=2, steps=1, side_px=64),
    "scaling": scaling.Settings(rounds=1, side_px=64),
    "soak": soak.Settings(seconds=2.0, clients=2),
    "hostile": HostileSettings(requests=120, seed=1),
    "frontend": frontend.Settings(rounds=2, steps=1, streams=4, stream_steps=1),
}
# What starts an ordinary server of its own, and does not end it: a running one will do.
_ON_ANY_SERVER = {"stages": stages, "scaling": scaling, "soak": soak, "frontend": frontend}


@pytest.mark.parametrize("part", _SMALL)
def test_a_part_measures(
    part: str, random_checkpoint: str, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if part in _ON_ANY_SERVER:
        monkeypatch.setattr(_ON_ANY_SERVER[part], "own_server", lambda *_, **__: nullcontext(server))
    monkeypatch.setattr(scaling, "SERIES", {"n": (1, 2), "side_px": (64,), "num_inference_steps": (1,)})
    section = runner.PARTS[part].measure(_SMALL[part], Path(random_checkpoint))
    assert list(section.faults) == []
    assert section.raw
    assert "tritonserver" in section.versions
    assert asdict(section.settings) == asdict(_SMALL[part])


def test_one_run_gives_one_report(tmp_path: Path, random_checkpoint: str) -> None:
    command = [sys.executable, "-m", "perf", "png", "image_inputs", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--model", random_checkpoint], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = (tmp_path / "png-image_inputs.md").read_text()
    assert done.stdout.strip() == report.strip()
    for part in ("- cpu: ", "- commit: ", "isal 1.", "| ours (isal) |", "| png |", "| image_inputs |", "photo-like"):
        assert part in report
    assert list(json.loads((tmp_path / "png-image_inputs.json").read_text())["parts"]) == ["png", "image_inputs"]


def test_hostile_is_a_program_of_its_own() -> None:
    command = [
        sys.executable,
        "perf/hostile",
        "--requests",
        "1",
        "--only",
        "no such kind",
        "--at",
        *["127.0.0.1:9"] * 3,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "there is no kind no such kind" in done.stderr
    assert done.returncode == 2


def test_a_part_that_fails_does_not_lose_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no disk")

    quick = runner.PARTS["stages"].quick
    broken = runner.Part("does it break?", fail, quick, quick)  # type: ignore[arg-type]
    monkeypatch.setitem(runner.PARTS, "stages", broken)
    assert runner.main(["stages", "png", "--quick", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "| stages | 0 | OSError: no disk |" in printed.out
    assert "| png | " in printed.out
    assert "FAILED: stages: OSError: no disk" in printed.err


def test_two_trees_are_compared(server: EmbeddedServer) -> None:
    records = asyncio.run(compare({NEW: server.grpc_url, OLD: server.grpc_url}, rounds=1, each=1))
    assert [record.error for record in records] == [""] * len(records)
    assert len(records) == 2 * (4 + 8)
    text = comparison_text(records)
    for part in ("## Closed loop, clients: 1", "## Closed loop, clients: 8", "| old |", "new is better than"):
        assert part in text


def test_a_server_is_asked_what_those_with_real_sizes_are(tmp_path: Path, random_checkpoint: str) -> None:
    with ServeProcess(Path(random_checkpoint), tmp_path, ["--set=diffusion.cpu_threads=1"]) as serve:
        assert 0 < serve.load_s < serve.ready_s
        assert serve.peak_bytes > 0
        met = {target.meaning: target for target, _ in [*questions.start(serve), *questions.idle(serve, 1.0)]}
        met |= {target.meaning: target for target, _ in questions.long_request(serve, "64x64", 50)}
        [(recovered, numbers)] = questions.crash(serve)
    assert met["openai-python gets a 256x256 image"].met
    assert "forwards" in next(target.reached for meaning, target in met.items() if "idle" in meaning)
    assert met["ready throughout a request of 64x64 in 50 steps"].reached.count(" of ") == 1
    assert numbers["seconds"] > 0
    assert recovered.reached


def test_an_engine_is_ended_under_load_and_every_request_is_accounted_for(random_checkpoint: str) -> None:
    """Killed, and its device lost: by a module that the engine's process alone imports."""
    with serving(KINDS["device"], Path(random_checkpoint)) as (server, frontend):
        before = held(server, frontend)
        assert before["processes"] > 1
        for name in ("kill", "device"):
            ends = Trial(server, frontend, KINDS[name], random.Random(name), 1, 1, lambda: None)
            asyncio.run(ends.run())
            record = ends.record({})
            assert [text for text in record.wrongs() if "recoveries took" not in text] == []  # nothing on times
            assert record.ends[0].load_s > 0
            assert [end.ended for end in record.ends] == [True]
            assert {one.way for one in record.outcomes} == set(WAYS)
            assert record.count(Result.SUCCEEDED) > 0
            assert len(record.probes) == len(WAYS)
            said = {one.said for one in record.outcomes if one.result is Result.UNAVAILABLE}
            assert all(f"ended ({'killed' if name == 'kill' else 'device'})" in text for text in said)


def test_the_engine_in_fastapi_generates_what_a_plain_pipeline_does(random_checkpoint: str) -> None:
    request = own_request(0, SHORT_STEPS, 7, 64)

    async def generate(server: BaselineServer) -> bytes:
        async with server.client() as client:
            return (await client.generate(**request.values(), timeout_s=60)).images[0]

    check = ResultCheck()
    for name in ("engine_library", "fastapi"):
        with BaselineServer(name, Path(random_checkpoint)) as server:
            check.check(request, [asyncio.run(generate(server))], request.seeds)


def test_plain_triton_generates_batches_and_responds_to_each(random_checkpoint: str) -> None:
    """The baseline without this project's engine: requests that come together, of two step counts."""
    requests = [(seed, 1 + seed % 2) for seed in range(8)]

    async def generate(server: PlainTritonServer, together: bool) -> list[Image.Image]:
        async with server.client() as client:

            async def one(seed: int, steps: int) -> Image.Image:
                values = {"prompt": "a star", "guidance_scale": 7.5, "size": "64x64"}
                result = await client.generate(num_inference_steps=steps, seed=seed, timeout_s=60, **values)
                return Image.open(io.BytesIO(result.images[0]))

            if together:
                return await asyncio.gather(*(one(*request) for request in requests))
            return [await one(*request) for request in requests]

    with PlainTritonServer(Path(random_checkpoint)) as server:
        batched = asyncio.run(generate(server, together=True))
        with urllib.request.urlopen(f"http://{server.http_url}/v2/models/dynamic_batching/stats") as response:
            [statistics] = json.load(response)["model_stats"]
        alone = asyncio.run(generate(server, together=False))
    assert statistics["execution_count"] < statistics["inference_count"] == len(requests)
    assert {(image.size, image.format) for image in batched} == {((64, 64), "PNG")}
    assert len({image.tobytes() for image in batched}) == len(requests)
    for one, other in zip(batched, alone, strict=True):
        assert max(ImageChops.difference(one, other).tobytes()) <= 2
