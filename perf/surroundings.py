"""What a measurement was made with: hardware, versions, commit, command."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "tritonclient")


def surroundings(http_url: str | None, packages: Sequence[str] = _PACKAGES) -> dict[str, Any]:
    """Texts by name, and the versions of packages by package.

    Args:
        http_url: `host:port` of a running server, which is asked for its version; None where there is none.
        packages: whose versions matter.
    """
    versions = {}
    if http_url is not None:
        with urllib.request.urlopen(f"http://{http_url}/v2", timeout=10) as response:
            versions["tritonserver"] = str(json.load(response)["version"])
    versions |= {package: version(package) for package in packages}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "command": shlex.join(["python", "-m", _module(), *shown_arguments(sys.argv[1:])]),
        "cpu": f"{cpu_model()}, {os.cpu_count()} cores; load average {os.getloadavg()[0]:.1f} at the start",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "versions": versions,
    }


def shown_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line's arguments without `--out FOLDER`: where results go has no part in them."""
    if "--out" not in arguments:
        return list(arguments)
    place = list(arguments).index("--out")
    return [*arguments[:place], *arguments[place + 2 :]]


def results_folder(surroundings: Mapping[str, Any], root: Path = _ROOT) -> Path:
    """The default folder for results: `perf/results/<date>-<commit>`, both as they were at the start."""
    date, _, _ = surroundings["date"].partition(" ")
    return root / "perf" / "results" / f"{date}-{surroundings['commit']}"


def commit() -> str:
    """The short commit, with `-changed` when tracked files differ from it; `unknown` without git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return f"{head}-changed" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_model(description: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the kernel knows it."""
    found = (
        re.search(r"^model name\s*:\s*(.+)$", description.read_text(), re.MULTILINE) if description.exists() else None
    )
    return found[1] if found else platform.machine()


def _module() -> str:
    main = sys.modules["__main__"].__spec__
    return main.name.removesuffix(".__main__") if main is not None else "perf"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
