"""`python -m perf.locust_load`: does the service answer rightly, and how fast, while users come, burst in and leave?

Starts a server and its OpenAI frontend and lets locust's users (`locustfile.py`) at them. Ends by itself; the exit
status is 1 when a single answer is wrong or missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from checkpoint import BUNDLED
from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from perf.arguments import add_model, measuring_parser
from perf.locust_report import locust_report
from perf.report import write_results
from perf.surroundings import results_folder, surroundings

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("locust", "torch", "diffusers", "tritonclient", "fastapi")
_GRACE_S = 300  # after the run time, for the answers that users still wait for


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    checkpoint: Path = arguments.model.resolve()
    parameters = {} if checkpoint == BUNDLED else other_checkpoint(str(checkpoint))
    try:
        with (
            EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as server,
            EmbeddedFrontend(server.grpc_url, options={"tokenizer": str(checkpoint)}) as frontend,
        ):
            about = surroundings(server.http_url, _PACKAGES)
            folder: Path = arguments.out or results_folder(about)
            folder.mkdir(parents=True, exist_ok=True)
            options = ["--users", str(arguments.users), "--run-time", f"{arguments.seconds}s", "--headless"]
            options += ["--html", str(folder / "locust.html"), "--csv", str(folder / "locust"), "--only-summary"]
            options += ["--http-url", server.http_url, "--grpc-url", server.grpc_url, "--openai-url", frontend.url]
            status = run_locust(options, arguments.seconds + _GRACE_S)
    except (ServerError, OSError, subprocess.TimeoutExpired) as error:
        print(f"locust_load: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    shown = {"model": checkpoint.name, "users": arguments.users, "seconds": arguments.seconds}
    markdown, raw = locust_report(about, shown, folder / "locust")
    print(markdown)
    for path in (*write_results(folder, "locust_load", markdown, raw), folder / "locust.html"):
        print(f"written: {path}", file=sys.stderr)
    return 1 if status else 0


def run_locust(options: list[str], timeout_s: float | None = None) -> int:
    """Run locust in a process of its own, whose standard library gevent may change; its exit status."""
    path = os.pathsep.join([str(_ROOT), str(_ROOT / "client"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, "-m", "locust", "-f", str(_ROOT / "perf" / "locustfile.py"), *options]
    return subprocess.run(
        command, cwd=_ROOT, stdout=sys.stderr, timeout=timeout_s, env={**os.environ, "PYTHONPATH": path}
    ).returncode


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.locust_load", __doc__, "a quarter of the time")
    add_model(parser)
    parser.add_argument("--users", type=int, default=6, help="outside the ramp and the burst; default 6")
    parser.add_argument("--seconds", type=int, default=120, help="of the whole test; default 120")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds = max(5, arguments.seconds // 4)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
