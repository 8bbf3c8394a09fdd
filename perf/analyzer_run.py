"""One run of perf_analyzer at one load, and what its files say."""

from __future__ import annotations

import csv
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagegen_client.transport import STREAM_MODEL
from perf.analyzer_inputs import file_stem

PROGRAM = Path(__file__).resolve().parents[1] / ".perf_analyzer" / "perf_analyzer"
"""Put there by `./build.sh analyzer`."""

CONCURRENCY, RATE = "concurrency", "requests/s"
_TIMEOUT_S = 600.0
_THREADS = 16
_WINDOWS = 3
_DELAYED = re.compile(r"([\d.]+)% of the requests were delayed")
_US_PER_MS = 1000.0


@dataclass(frozen=True)
class Load:
    """What a run does.

    Attributes:
        model: the model that is called.
        kind: of the requests.
        protocol: http or grpc.
        mode: CONCURRENCY or RATE.
        level: requests under way, or Poisson arrivals in a second.
        requests: how many in all, at least.
    """

    model: str
    kind: str
    protocol: str
    mode: str
    level: float
    requests: int

    @property
    def name(self) -> str:
        """For the names of its files."""
        prefix = "stream-" if self.streaming else ""
        return (
            f"{prefix}{file_stem(self.kind)}-{self.protocol}-{'c' if self.mode == CONCURRENCY else 'r'}{self.level:g}"
        )

    @property
    def streaming(self) -> bool:
        """Whether answers are streams."""
        return self.model == STREAM_MODEL


@dataclass(frozen=True)
class Measured:
    """What came of it.

    Attributes:
        load: what was done.
        columns: perf_analyzer's CSV: throughput, and times in ms by name; empty where the run failed.
        composing: the same by composing model.
        delayed_percent: of the requests, how many perf_analyzer sent late; only with a rate.
        stages_ms: milliseconds of a request by stage, see `stage_seconds`.
        fault: why the run failed; empty where it did not.
    """

    load: Load
    columns: Mapping[str, float] = field(default_factory=dict)
    composing: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    delayed_percent: float = 0.0
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    fault: str = ""


def run_analyzer(load: Load, url: str, input_data: Path, folder: Path) -> Measured:
    """Run it; its CSV files and what it printed stay in `folder`.

    Args:
        load: what to do.
        url: `host:port` of the protocol's endpoint.
        input_data: see `write_input_data`.
        folder: exists.
    """
    command = analyzer_command(load, url, input_data)
    # It puts the names of the composing models before that of the CSV file, so this has to be without a folder.
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_TIMEOUT_S
    )
    (folder / f"{load.name}.log").write_text(done.stdout)
    if done.returncode != 0:
        return Measured(load, fault=reason(done.stdout) or f"exit status {done.returncode}")
    delayed = _DELAYED.search(done.stdout)
    return Measured(
        load,
        columns=read_row(folder / f"{load.name}.csv"),
        composing={
            path.name.partition("_v")[0]: read_row(path) for path in sorted(folder.glob(f"*_v*.{load.name}.csv"))
        },
        delayed_percent=float(delayed[1]) if delayed else 0.0,
    )


def analyzer_command(load: Load, url: str, input_data: Path) -> list[str]:
    """The command line."""
    command = [str(PROGRAM), "-m", load.model, "-i", load.protocol, "-u", url, "--input-data", str(input_data)]
    command += ["-f", f"{load.name}.csv", "--verbose-csv"]
    # Without --async a rate is sent by a few threads that wait for their answers, and so is not kept.
    command += ["--async", "--max-threads", str(_THREADS)]
    if load.streaming:
        command.append("--streaming")
    if load.mode == RATE:
        command += ["--request-rate-range", f"{load.level:g}", "--request-distribution", "poisson"]
        # Not in windows: a run ends with an error when a composing model has had no request in one.
        return [*command, "--request-count", str(load.requests)]
    command += ["--concurrency-range", f"{load.level:g}"]
    # Three windows, whatever their differences. Not --request-count: it would count the idle rest of the last second.
    window = str(-(-load.requests // _WINDOWS))
    command += ["--measurement-mode", "count_windows", "--measurement-request-count", window]
    return [*command, "--stability-percentage", "1000000", "--max-trials", str(_WINDOWS)]


def read_row(path: Path) -> dict[str, float]:
    """The one line of a CSV file, in ms where perf_analyzer has microseconds."""
    with path.open(newline="") as lines:
        row = next(csv.DictReader(lines))
    known = ("Concurrency", "Request Rate", "Inferences/Second", "Response Throughput")
    return {
        name: float(value) / (1 if name in known else _US_PER_MS)
        for name, value in row.items()
        if name is not None and value not in (None, "")
    }


def reason(printed: str) -> str:
    """The first error in what it printed."""
    found = re.search(r"^(?:Thread \[\d+\] had error: |[Ee]rror: )(.+)$", printed, re.MULTILINE)
    return found[1].strip() if found else " · ".join(printed.split("\n")[-3:]).strip(" ·")
