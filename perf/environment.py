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

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""

_PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "isal", "tritonclient")


def environment(program: str, packages: Sequence[str] = _PACKAGES) -> dict[str, Any]:
    """Texts by name, and under `versions` the versions of packages by package.

    Args:
        program: how this program is called, without its arguments.
        packages: whose versions matter.
    """
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "command": f"{program} {shlex.join(sys.argv[1:])}".strip(),
        "cpu": f"{cpu_model()}, {os.cpu_count()} cores; load average {os.getloadavg()[0]:.1f} at the start",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
    }


def triton_version(http_url: str) -> dict[str, str]:
    """The version of the Triton server at `host:port`, as an entry of `versions`."""
    with urllib.request.urlopen(f"http://{http_url}/v2", timeout=10) as response:
        return {"tritonserver": str(json.load(response)["version"])}


def results_folder(environment: Mapping[str, Any], root: Path = ROOT) -> Path:
    """The default folder for results: `perf/results/<date>-<commit>`, both as they were at the start."""
    date, _, _ = environment["date"].partition(" ")
    return root / "perf" / "results" / f"{date}-{environment['commit']}"


def commit() -> str:
    """The short commit, with `-changed` when tracked files differ from it; `unknown` without git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return f"{head}-changed" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_model(description: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the kernel knows it."""
    text = description.read_text() if description.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
