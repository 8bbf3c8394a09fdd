"""`./build.sh bench`: every measurement of the report, one after the other, within a bounded time.

Writes one report with plots. Ends by itself; the exit status is 1 when any part failed or found a wrong answer.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from checkpoint import BUNDLED
from perf.arguments import add_model, measuring_parser
from perf.bench_parts import LIMIT_S, QUICK_LIMIT_S, parts
from perf.bench_plots import draw_plots
from perf.bench_report import bench_report
from perf.bench_run import run_part
from perf.peer_comparison import QUICK, Settings
from perf.peers.environments import make_environment
from perf.peers.server import PEERS
from perf.readme_link import link_report
from perf.report import write_results
from perf.surroundings import results_folder, shown_arguments, surroundings

_ROOT = Path(__file__).resolve().parents[1]
_REPORT_S = 10.0  # kept back for plots and report


def main() -> int:
    """Command line; the exit status."""
    parser = measuring_parser("./build.sh bench", __doc__, f"at most {QUICK_LIMIT_S / 60:g} minutes, to try it out")
    add_model(parser)
    names = [part.name for part in parts(quick=False)]
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=f"of {', '.join(names)}; default all")
    arguments = parser.parse_args()
    chosen = [part for part in parts(arguments.quick) if arguments.only is None or part.name in arguments.only]
    about = surroundings(None) | {"command": shlex.join(["./build.sh", "bench", *shown_arguments(sys.argv[1:])])}
    folder: Path = (arguments.out or results_folder(about)).resolve()
    console = Console(stderr=True)
    # A shell that starts this in the background has it ignore Ctrl-C, and so would the parts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _prepare_peers(console, [part.command for part in chosen])
        with tempfile.TemporaryDirectory(prefix="imagegen-bench-") as folder_name:
            scratch = Path(folder_name)
            scratch.chmod(0o755)  # the results' folder becomes as this one is
            started_s = time.monotonic()
            deadline_s = started_s + (QUICK_LIMIT_S if arguments.quick else LIMIT_S) - _REPORT_S
            outcomes = []
            for number, part in enumerate(chosen, 1):
                passed_s = time.monotonic() - started_s
                console.rule(f"{number} of {len(chosen)}: {part.name} (after {passed_s / 60:.1f} minutes)")
                extra = ["--out", str(scratch)]
                if part.takes_model and arguments.model != BUNDLED:
                    extra += ["--model", str(arguments.model.resolve())]
                left_s = deadline_s - time.monotonic()
                # What later parts leave over is this one's: on a slow machine few parts are as good as on a fast one.
                timeout_s = min(left_s, max(part.limit_s, left_s - sum(later.limit_s for later in chosen[number:])))
                outcomes.append(run_part(part, extra, timeout_s))
            markdowns = {path.stem: path.read_text() for path in scratch.glob("*.md")}
            shutil.copytree(scratch, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.md"))
    except KeyboardInterrupt:
        return 130
    plots = draw_plots(folder, [part.result for part in chosen], about)
    markdown, raw = bench_report(about, outcomes, markdowns, plots, folder)
    for path in (*write_results(folder, "report", markdown, raw), *(folder / plot.file for plot in plots)):
        print(f"written: {os.path.relpath(path)}", file=sys.stderr)
    if plots and not (arguments.quick or arguments.only or arguments.out):
        link_report(_ROOT / "README.md", folder / "report.md", folder / plots[0].file, plots[0].caption)
    failed = [outcome for outcome in outcomes if outcome.fault]
    for outcome in failed:
        print(f"FAILED: {outcome.name}: {outcome.fault}", file=sys.stderr)
    return 1 if failed else 0


def _prepare_peers(console: Console, commands: list[tuple[str, ...]]) -> None:
    """Make the environments before the time runs; a peer that cannot have one says so in the comparison."""
    compared = [command for command in commands if command[0] == "perf.peer_comparison"]
    wanted = {name for command in compared for name in (QUICK if "--quick" in command else Settings()).peers}
    for name in sorted(wanted & set(PEERS)):
        console.print(f"Environment of {name} …")
        try:
            make_environment(name)
        except OSError as error:
            console.print(str(error))


if __name__ == "__main__":
    sys.exit(main())
