"""The measuring programs run to their end, every answer is right, and the reports have their parts.

Nothing is asserted on times: see perf/README.md for what they are good for.
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client.errors import ServerUnreachable
from imagegen_client.transport import MODEL
from perf.analyzer_inputs import TEXT, URL, write_input_data
from perf.analyzer_run import CONCURRENCY, PROGRAM, Load, run_analyzer
from perf.answer_check import WRONG_SIZE
from perf.locust_load import run_locust
from perf.locust_report import read_csv
from perf.peers.triton_server import PlainTritonServer
from tests.openai_stand_in import images, openai_stand_in

_ROOT = Path(__file__).resolve().parents[2]
needs_analyzer = pytest.mark.skipif(not PROGRAM.exists(), reason="no perf_analyzer; ./build.sh test installs it")


def measure(module: str, folder: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    """Run a program; its report and its JSON."""
    command = [sys.executable, "-m", f"perf.{module}", "--quick", "--out", str(folder), *arguments]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    report = (folder / f"{module}.md").read_text()
    assert done.stdout.strip() == report.strip()
    return report, json.loads((folder / f"{module}.json").read_text())


def test_mixed_load(tmp_path: Path) -> None:
    sizes = ("--layers", "1", "--requests", "6", "--clients", "3", "--each", "1")
    report, raw = measure("mixed_load", tmp_path, *sizes)
    for part in ("## Open loop, 80%", "## Closed loop, 3 clients", "## Targets", "tritonserver", "than static"):
        assert part in report
    for engines in raw["summaries"].values():
        assert set(engines) == {"hub", "serial", "static"}
        assert all(summary["errors"] == 0 for summary in engines.values())
    assert len(raw["records"]) == 3 * (6 + 3)


def test_image_inputs(tmp_path: Path) -> None:
    report, raw = measure("image_inputs", tmp_path, "--requests", "20", "--memory-requests", "100", "--side-px", "64")
    for part in ("| text-to-image |", "| base64 JPEG |", "## Resident memory", "Target:", "tritonserver"):
        assert part in report
    assert {len(times["client_ms"]) for times in raw["times"].values()} == {2}
    assert raw["memory"]["requests"] == list(range(1, 11))


def test_overhead(tmp_path: Path) -> None:
    report, raw = measure("overhead", tmp_path, "--pairs", "30", "--steps", "2", "--side-px", "64")
    for part in ("| server, median |", "| direct, median |", "| denoise |", "Target:", "tritonserver"):
        assert part in report
    assert len(raw["pairs"]) == 3
    assert not any(pair["fault"] for pair in raw["pairs"])


def test_frontend(tmp_path: Path) -> None:
    report, raw = measure("frontend", tmp_path, "--rounds", "30", "--steps", "2", "--streams", "100")
    for part in ("| OpenAI frontend |", "| gRPC, image_generation_stream |", "## Many streams at once", "Target:"):
        assert part in report
    assert {len(times) for times in raw["times_ms"].values()} == {3}
    assert raw["streams"]["completed"] == raw["streams"]["open"] == 10


def test_png(tmp_path: Path) -> None:
    report, raw = measure("png", tmp_path)
    for encoder in ("imageio default", "Pillow default", "level 1", "level 0", "Z_RLE", "ours (isal)"):
        assert f"{encoder} |" in report
    for part in ("natural", "photo-like", "noise", "flat", "1280x720", "images of one request", "isal 1."):
        assert part in report
    assert len(raw["samples"]) == 4 * 6
    with Image.open(tmp_path / "png_plot.png") as plot:
        assert min(plot.size) > 500


def test_bench(tmp_path: Path, random_checkpoint: str) -> None:
    command = [sys.executable, "-m", "perf.bench", "--quick", "--out", str(tmp_path), "--model", random_checkpoint]
    done = subprocess.run([*command, "--only", "stages", "gpu"], cwd=_ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    report = (tmp_path / "report.md").read_text()
    for part in ("tritonserver", "| stages |", "| gpu |", "| denoise |", "(stages.png)", "add up to the whole"):
        assert part in report
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.md",
        "report.json",
        "stages.json",
        "stages.png",
        "gpu.json",
    }


def test_growth(tmp_path: Path, random_checkpoint: str) -> None:
    sizes = ("--model", random_checkpoint, "--seconds", "1", "--most-clients", "4", "--most-in-flight", "20")
    report, raw = measure("growth", tmp_path, *sizes)
    for part in ("to the power of", "## Concurrency", "| 140% |", "## Prompt cache", "Failed requests: 0."):
        assert part in report
    assert list(raw["concurrency"]) == ["1", "2", "4"]
    assert raw["in_flight"]["20"]["requests"] == 20
    assert any(rows > 0 for _, rows, _ in raw["occupancy"])


def test_soak(tmp_path: Path, random_checkpoint: str) -> None:
    report, raw = measure("soak", tmp_path, "--model", random_checkpoint, "--seconds", "100")
    assert "too short for a verdict" in report
    assert raw["answered"] > 0
    assert raw["failures"] == []
    assert min(sample["shm_bytes"] for sample in raw["samples"]) > 0


@needs_analyzer
def test_analyzer(tmp_path: Path, random_checkpoint: str) -> None:
    runs = ("--concurrency", "2", "--shares", "0.5", "--kinds", "url", "--protocols", "http")
    sizes = ("--model", random_checkpoint, "--requests", "4", "--steps", "2", "--size", "64x64")
    report, raw = measure("analyzer", tmp_path, *runs, *sizes)
    for part in ("| image-to-image, URL | http | 2 | diffusion |", "## Poisson arrivals", "tritonserver", "None."):
        assert part in report
    names = [Load(**one["load"]).name for one in raw["measured"]]
    assert [name.rpartition("-")[0] for name in names] == [
        *["image-to-image-url-http"] * 2,
        "stream-text-to-image-grpc",
    ]
    for name, one in zip(names, raw["measured"], strict=True):
        assert (tmp_path / "analyzer" / f"{name}.csv").exists()
        assert one["columns"]["Inferences/Second"] > 0
        assert one["stages_ms"]["denoise"] > 0
        assert (one["stages_ms"]["fetch"] > 0) == (one["load"]["kind"] == URL)


@needs_analyzer
def test_a_refused_request_fails_the_run(tmp_path: Path, server: EmbeddedServer) -> None:
    data = write_input_data(tmp_path / "in.json", [{"prompt": "a star", "num_inference_steps": 100_000}])
    load = Load(MODEL, TEXT, "grpc", CONCURRENCY, 1, 4)
    assert "num_inference_steps" in run_analyzer(load, server.grpc_url, data, tmp_path).fault


def test_locust_load(tmp_path: Path, random_checkpoint: str) -> None:
    sizes = ("--model", random_checkpoint, "--users", "3", "--seconds", "32")
    report, raw = measure("locust_load", tmp_path, *sizes)
    # Who asks for what depends on who is faster; that every protocol's users ask at all does not.
    asked = [f"| {line['Type']}: {line['Name']} |" for line in raw["stats"] if line["Type"]]
    for part in ("| all |", *asked, "## Over time", "tritonserver", "None."):
        assert part in report
    assert {line["Type"] for line in raw["stats"]} == {"HTTP", "gRPC", "OpenAI", ""}
    assert max(int(line["User Count"]) for line in raw["history"]) == 9
    assert "<html" in (tmp_path / "locust.html").read_text()


def test_a_wrong_answer_makes_locust_fail(tmp_path: Path) -> None:
    with openai_stand_in(lambda _, body: images(body, (32, 32))) as url:
        options = ["OpenAIUser", "--headless", "--users", "1", "--run-time", "3s", "--openai-url", url]
        assert run_locust([*options, "--csv", str(tmp_path / "wrong")], timeout_s=60) == 1
    assert {line["Error"] for line in read_csv(tmp_path / "wrong", "failures")} == {WRONG_SIZE}


def test_locust_fails_when_nobody_answers(tmp_path: Path) -> None:
    nobody = ["--http-url", "127.0.0.1:9", "--grpc-url", "127.0.0.1:9", "--openai-url", "http://127.0.0.1:9"]
    options = ["--headless", "--users", "3", "--run-time", "3s", *nobody]
    assert run_locust([*options, "--csv", str(tmp_path / "nobody")], timeout_s=60) == 1
    failures = read_csv(tmp_path / "nobody", "failures")
    assert {line["Method"] for line in failures} == {"HTTP", "gRPC", "OpenAI"}
    assert {line["Error"] for line in failures} == {ServerUnreachable.code}


def test_plain_triton_draws_batches_and_answers_each(random_checkpoint: str) -> None:
    """The peer without this project's engine: requests that come together, of two step counts."""
    requests = [(seed, 1 + seed % 2) for seed in range(8)]

    async def draw(server: PlainTritonServer, together: bool) -> list[Image.Image]:
        async with server.client() as client:

            async def one(seed: int, steps: int) -> Image.Image:
                result = await client.generate(
                    "a star", num_inference_steps=steps, guidance_scale=7.5, seed=seed, timeout_s=60
                )
                return Image.open(io.BytesIO(result.images[0]))

            if together:
                return await asyncio.gather(*(one(*request) for request in requests))
            return [await one(*request) for request in requests]

    with PlainTritonServer(Path(random_checkpoint), 64) as server:
        drawn = asyncio.run(draw(server, together=True))
        with urllib.request.urlopen(f"http://{server.http_url}/v2/models/dynamic_batching/stats") as answer:
            [statistics] = json.load(answer)["model_stats"]
        alone = asyncio.run(draw(server, together=False))
    assert statistics["execution_count"] < statistics["inference_count"] == len(requests)
    assert {(image.size, image.format) for image in drawn} == {((64, 64), "PNG")}
    assert len({image.tobytes() for image in drawn}) == len(requests)
    for one, other in zip(drawn, alone, strict=True):
        assert max(ImageChops.difference(one, other).tobytes()) <= 2
