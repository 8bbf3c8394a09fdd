"""The lines of perf/README.md for other people's load generators run as they stand there, against a real server."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from imagegen_client import ServerUnreachable
from perf.result_check import WRONG_SIZE
from tests.openai_stand_in import images, openai_stand_in
from tests.service.conftest import OpenAIServer
from tests.service.locust_run import ROOT, read_csv, run_locust

_README = (ROOT / "perf" / "README.md").read_text()


def line(program: str, server: OpenAIServer) -> list[str]:
    """The command of the README that begins with `program`, for that server's ports."""
    [found] = re.findall(rf"^```bash\n({re.escape(program)} .+?)\n```", _README, re.MULTILINE | re.DOTALL)
    ports = {8000: server.triton.http_url, 8001: server.triton.grpc_url, 9000: server.url.removeprefix("http://")}
    for port, url in ports.items():
        found = found.replace(f"localhost:{port}", url)
    assert "localhost" not in found
    return shlex.split(found.replace("\\\n", ""))


def run(command: list[str]) -> str:
    """Run it from the project's root; what it printed."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.mark.skipif(not (ROOT / ".perf_analyzer").exists(), reason="./build.sh perf_analyzer installs it")
def test_perf_analyzer(openai_server: OpenAIServer) -> None:
    printed = run(line(".perf_analyzer/perf_analyzer", openai_server))
    assert re.search(r"Concurrency: 4, throughput: [0-9.]+ infer/sec", printed), printed


@pytest.mark.skipif(not (ROOT / ".aiperf").exists(), reason="perf/README.md says how to install it")
def test_aiperf(openai_server: OpenAIServer, tmp_path: Path) -> None:
    command = line(".aiperf/bin/aiperf", openai_server)
    command[command.index("--artifact-dir") + 1] = str(tmp_path)
    run(command)
    table = next(tmp_path.rglob("profile_export_aiperf.csv")).read_text()
    assert "Request Count,20.00\n" in table
    assert "Request Error Rate (%),0.00\n" in table


def test_locust(openai_server: OpenAIServer, tmp_path: Path) -> None:
    command = line(".venv/bin/python -m locust", openai_server)
    options = command[command.index("--headless") :]
    options[options.index("-t") + 1] = "4s"
    assert command[:5] == [".venv/bin/python", "-m", "locust", "-f", "perf/locustfile.py"]
    assert run_locust([*options, "--csv", str(tmp_path / "locust")], timeout_s=240) == 0
    assert {row["Type"] for row in read_csv(tmp_path / "locust", "stats")} == {"HTTP", "gRPC", "OpenAI", ""}
    assert read_csv(tmp_path / "locust", "failures") == []


def test_a_wrong_result_makes_locust_fail(tmp_path: Path) -> None:
    with openai_stand_in(lambda _, body: images(body, (32, 32))) as url:
        options = ["OpenAIUser", "--headless", "--users", "1", "--run-time", "6s", "--openai-url", url]
        assert run_locust([*options, "--csv", str(tmp_path / "wrong")], timeout_s=60) == 1
    assert {row["Error"] for row in read_csv(tmp_path / "wrong", "failures")} == {WRONG_SIZE}


def test_locust_fails_when_nobody_responds(tmp_path: Path) -> None:
    nobody = ["--http-url", "127.0.0.1:9", "--grpc-url", "127.0.0.1:9", "--openai-url", "http://127.0.0.1:9"]
    options = ["--headless", "--users", "3", "--spawn-rate", "3", "--run-time", "3s", *nobody]
    assert run_locust([*options, "--csv", str(tmp_path / "nobody")], timeout_s=60) == 1
    failures = read_csv(tmp_path / "nobody", "failures")
    assert {row["Method"] for row in failures} == {"HTTP", "gRPC", "OpenAI"}
    assert {row["Error"] for row in failures} == {ServerUnreachable.code}


def test_the_table_has_every_part() -> None:
    listed = re.findall(r"^\| (\S+) \| .+ \| \d+ \|$", _README, re.MULTILINE)
    help_text = run([sys.executable, "-m", "perf", "--help"])
    parts = re.findall(r"^  ([a-z_-]+) {2,}\S", help_text.partition("parts:")[2].partition("\n\n")[0], re.MULTILINE)
    assert listed == parts
