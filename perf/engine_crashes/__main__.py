"""`python -m perf.engine_crashes`: an engine that is ended at random moments under load, in every way we know.

One server for each kind of end, with a frontend and clients of the ensemble, of streams and of OpenAI's API that go on
sending. Ends by itself; the exit status is 1 when a kind fails or a condition is missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from checkpoint import BUNDLED
from perf.engine_crashes.judgement import COLUMNS, MOST_ANSWER_S, MOST_LATE_S, MOST_RECOVERY_S, Record
from perf.engine_crashes.kinds import KINDS
from perf.engine_crashes.memory_limit import has_memory_group
from perf.engine_crashes.outcomes import Result
from perf.engine_crashes.trial import Settings, crash
from perf.environment import environment, results_folder
from perf.progress import quiet_progress
from perf.report import Outcome, Section, Target, table, write_report

_SHOWN = 5  # examples of equal faults


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments(argv)
    about = environment("python -m perf.engine_crashes")
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    settings = Settings(tuple(arguments.kinds), arguments.times, arguments.seed, arguments.clients)
    started_s = time.monotonic()
    try:
        found = section(settings, *measure(settings, arguments.model.resolve()))
    except KeyboardInterrupt:
        return 130
    outcome = Outcome("engine-crashes", time.monotonic() - started_s, found)
    text, _ = write_report((arguments.out or results_folder(about)).resolve(), "engine-crashes", about, [outcome])
    print(text)
    return 1 if outcome.failed or not all(target.met for target in found.targets) else 0


def measure(settings: Settings, checkpoint: Path) -> tuple[dict[str, Record], dict[str, str], dict[str, Any]]:
    """What was seen by kind, why a kind failed, and what each server held before."""
    records: dict[str, Record] = {}
    failures: dict[str, str] = {}
    before: dict[str, Any] = {}
    with quiet_progress() as progress:
        for name in settings.kinds:
            bar = progress.add_task(name, total=settings.times + 1)
            notify = partial(progress.update, bar, advance=1, refresh=True)
            try:
                records[name], before[name] = crash(name, settings, checkpoint, notify)
            except Exception as error:
                failures[name] = f"{type(error).__name__}: {error}"
    return records, failures, before


def section(
    settings: Settings, records: Mapping[str, Record], failures: Mapping[str, str], before: Mapping[str, Any]
) -> Section:
    """What the report says about it.

    Args:
        settings: of the run.
        records: what was seen, by kind.
        failures: why a kind could not be tried.
        before: what each server held before, by kind.
    """
    faults = [f"{name}: {text}" for name, text in failures.items()]
    for name, record in records.items():
        faults += [f"{name}: {text}" for text in record.wrongs()]
    said = Counter(
        f"{name}, {one.way}: {one.said}"
        for name, record in records.items()
        for one in record.outcomes
        if one.result is Result.UNAVAILABLE
    )
    return Section(
        title="Ends of the engine's process",
        settings=settings,
        paragraphs=[
            "Clients of each interface send one request after the other, 2, 6 or 20 steps, each another one, none with"
            " a deadline. An answer is counted from the end of the engine, a recovery from there to the first image of"
            " a request that was sent afterwards, less the seconds for which the next process loaded. Half a second"
            " after the end each interface gets one more request, with a deadline of 1 s.",
            "\n".join(f"- {name}: {KINDS[name].meaning}" for name in settings.kinds),
            table(COLUMNS, [record.row(name) for name, record in records.items()]),
            "What the unavailable ones were told:",
            "\n".join(f"- {count} times {text}" for text, count in said.most_common()),
        ],
        raw={
            "before": dict(before),
            "kinds": {name: _raw(record) for name, record in records.items()},
        },
        targets=_targets(records, settings),
        faults=faults,
    )


def _targets(records: Mapping[str, Record], settings: Settings) -> list[Target]:
    """The worst of all kinds."""
    all_records = list(records.values())
    wrong = sum(len(record.wrong) + len(record.unexplained) + record.broken_connections for record in all_records)
    requests = sum(len(record.outcomes) for record in all_records)
    answers = [seconds for record in all_records for seconds in record.answer_s]
    recoveries = [seconds for record in all_records for seconds in record.recovery_s]
    late = [seconds for record in all_records for seconds in record.late_s]
    left = [f"{name}: {record.leftovers}" for name, record in records.items() if record.leftovers]
    ends = sum(len(record.ends) for record in all_records)
    enough = len(recoveries) == settings.times * len(settings.kinds)
    return [
        Target(
            "every request gets its image or is told that it is unavailable; no connection breaks",
            f"{requests - wrong} of {requests}",
            wrong == 0 < requests,
        ),
        _at_most(f"what the engine had is answered within {MOST_ANSWER_S:g} s of its end", answers, MOST_ANSWER_S),
        Target(
            f"images again within {MOST_RECOVERY_S:g} s beyond loading",
            f"{len(recoveries)} of {ends} times, {max(recoveries, default=float('nan')):.2f} s at most",
            enough and max(recoveries) <= MOST_RECOVERY_S,
        ),
        _at_most(f"who waits with a deadline is answered within {MOST_LATE_S:g} s of it", late, MOST_LATE_S),
        Target("processes, shared memory, open files as before", "; ".join(left) or "nothing left over", not left),
    ]


def _at_most(meaning: str, seconds: list[float], most_s: float) -> Target:
    """None at all is none too late."""
    return Target(meaning, f"{max(seconds, default=0.0):.2f} s at most", max(seconds, default=0.0) <= most_s)


def _raw(record: Record) -> dict[str, Any]:
    return {
        "ends": [asdict(end) for end in record.ends],
        "answer_s": record.answer_s,
        "recovery_less_load_s": record.recovery_s,
        "late_s": record.late_s,
        "probes": [one.result.value for one in record.probes],
        "results": {result.value: record.count(result) for result in Result},
        "leftovers": dict(record.leftovers),
    }


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    possible = [name for name in KINDS if name != "memory" or has_memory_group()]
    parser = argparse.ArgumentParser(prog="python -m perf.engine_crashes", description=__doc__)
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=list(KINDS),
        default=possible,
        metavar="KIND",
        help=f"of {', '.join(KINDS)}; default: all that are possible here, memory where a control group may be made",
    )
    parser.add_argument("--times", type=int, default=Settings.times, help="ends of each kind; default %(default)s")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="of moments and requests; default %(default)s")
    parser.add_argument("--clients", type=int, default=Settings.clients, help="of each interface; default %(default)s")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of a diffusers checkpoint")
    parser.add_argument("--out", type=Path, help="folder for the report; default: perf/results/<date>-<commit>")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
