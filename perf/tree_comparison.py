"""`python -m perf.tree_comparison OLD`: is this tree as fast as another commit?

OLD is a git reference or the folder of a checkout. Both trees' servers run at the same time and take turns with the
same requests, one client and eight in a closed loop. Prints requests/s and latencies of both, and their ratios. Ends by
itself; the exit status is 1 when a result is wrong or missing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from imagegen.launch.child_process import HOST, ChildProcess, ServerError
from imagegen.launch.ports import free_ports
from imagegen_client import AsyncImageClient
from perf.environment import ROOT, environment
from perf.load import Client
from perf.report import environment_text
from perf.result_check import ResultCheck
from perf.summaries import Record, advantage_table, summarize_all, summary_table
from perf.trials import Trial, closed_trial, run_trials
from perf.turns import rotated

NEW, OLD = "new", "old"
_TITLES = {NEW: "new", OLD: "old"}
_SERVE = {"imagegen/launch/serve.py": "imagegen.launch.serve", "deploy/serve.py": "deploy.serve"}
_CLIENTS = (1, 8)
_READY_TIMEOUT_S = 300.0
_EXIT_TIMEOUT_S = 30.0


class TreeServer(ChildProcess):
    """The server of a checkout, started as its `./build.sh serve` starts it, without the OpenAI frontend.

    Args:
        name: for messages.
        tree: the checkout's folder; its packages are those of this environment.
        settings: `MODEL.PARAMETER=VALUE`, in place of the tree's own.

    Raises:
        ServerError: it has no server that we know, and on entering, when it does not get ready.
    """

    def __init__(self, name: str, tree: Path, settings: Sequence[str] = ()) -> None:
        super().__init__(name, log_file=None, ready_timeout_s=_READY_TIMEOUT_S, exit_timeout_s=_EXIT_TIMEOUT_S)
        self._tree = tree
        self._ports: dict[str, int] = {}
        self._module = serve_module(tree)
        self._settings = settings

    @property
    def grpc_url(self) -> str:
        """`host:port`."""
        return f"{HOST}:{self._ports['grpc']}"

    def _start(self) -> None:
        self._ports = free_ports({"http": 0, "grpc": 0, "metrics": 0})
        command = [sys.executable, "-m", self._module, "--openai-port", "0"]
        for name, port in self._ports.items():
            command += [f"--{name}-port", str(port)]
        for setting in self._settings:
            command += ["--set", setting]
        path = os.pathsep.join(map(str, (self._tree, self._tree / "client")))
        # From its own folder, else Python would find this tree's packages first.
        self._launch(["env", "-C", str(self._tree), *command], os.environ | {"PYTHONPATH": path})

    @property
    def _ready_url(self) -> str:
        return f"http://{HOST}:{self._ports['http']}/v2/health/ready"


def serve_module(tree: Path) -> str:
    """The module of a tree that serves.

    Raises:
        ServerError: there is none that we know.
    """
    for file, module in _SERVE.items():
        if (tree / file).exists():
            return module
    raise ServerError(f"{tree} has none of {', '.join(_SERVE)}")


def check_out(reference: str, folder: Path) -> Path:
    """The folder of the tree `reference`: a checkout's folder, or what git has under that name, put into `folder`.

    Raises:
        ServerError: git does not know it.
    """
    if Path(reference).is_dir():
        return Path(reference).resolve()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", reference], capture_output=True)
    if archive.returncode:
        raise ServerError(archive.stderr.decode().strip())
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


async def compare(grpc_urls: Mapping[str, str], rounds: int, each: int, side_px: int = 64) -> list[Record]:
    """All requests of both trees.

    Args:
        grpc_urls: `host:port` by tree.
        rounds: repetitions, each with requests of its own; the trees take turns in going first.
        each: requests of a client in a round; of the one that is alone, four times as many.
        side_px: width and height of the images.
    """
    async with AsyncExitStack() as stack:
        clients: dict[str, Client] = {}
        for name, url in grpc_urls.items():
            clients[name] = await stack.enter_async_context(AsyncImageClient(url))
        check = ResultCheck()
        await run_trials([_trial(name, 0, 8, 2, side_px) for name in grpc_urls], clients, check)
        trials = [
            _trial(name, number, count, each if count > 1 else 4 * each, side_px)
            for number in range(rounds)
            for count in _CLIENTS
            for name in rotated(list(grpc_urls), number)
        ]
        return await run_trials(trials, clients, check)


def _trial(name: str, number: int, clients: int, each: int, side_px: int) -> Trial:
    scenario = f"closed loop, clients: {clients}"
    return closed_trial(scenario, name, number, clients, each, 100 * clients + number, side_px)


def comparison_text(records: Sequence[Record]) -> str:
    """Markdown tables of both trees under each load, and by how much the new one is better."""
    paragraphs = ["70 % of the requests have 4 steps (short), 30 % have 50 (long). Above 1 the new tree is better."]
    for scenario, summaries in summarize_all(records).items():
        chosen = [record for record in records if record.scenario == scenario]
        paragraphs += [
            f"## {scenario[0].upper()}{scenario[1:]}",
            summary_table(summaries, _TITLES),
            advantage_table(chosen, NEW, _TITLES),
        ]
    return "\n\n".join(paragraphs)


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.tree_comparison", description=__doc__)
    parser.add_argument("old", help="git reference, or folder of a checkout")
    parser.add_argument("--new", default=str(ROOT), help="the same; default: this checkout")
    parser.add_argument("--rounds", type=int, default=6, help="default 6")
    parser.add_argument("--each", type=int, default=5, help="requests of a client in a round; default 5")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="MODEL.PARAMETER=VALUE",
        help="for both trees; diffusion.cpu_threads=1 takes the noise of threads that wait for each other away",
    )
    arguments = parser.parse_args(argv)
    about = environment("python -m perf.tree_comparison")
    try:
        with ExitStack() as stack:
            servers = {}
            for name, reference in ((NEW, arguments.new), (OLD, arguments.old)):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-tree-")))
                servers[name] = stack.enter_context(TreeServer(name, check_out(reference, folder), arguments.settings))
            urls = {name: server.grpc_url for name, server in servers.items()}
            records = asyncio.run(compare(urls, arguments.rounds, arguments.each))
    except ServerError as error:
        print(f"tree_comparison: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"# Two trees\n\n{environment_text(about, {})}\n\n{comparison_text(records)}")
    wrong = [record for record in records if record.error]
    for record in wrong[:10]:
        print(f"wrong: {record}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
