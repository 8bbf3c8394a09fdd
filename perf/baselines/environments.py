"""The baselines' environments, made on demand in `.baselines/`: small, because torch and diffusers are this one's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from imagegen.launch.child_process import ServerError
from perf.environment import ROOT

_PINNED = Path(__file__).resolve().parent
_INSTALL_TIMEOUT_S = 600


def make_environment(name: str) -> Path:
    """The Python of the baseline's environment, made anew where what is pinned in `<name>.txt` has changed.

    Packages that this environment has in the same version are not installed again.

    Args:
        name: of the baseline; one that has no `<name>.txt` runs in this environment.

    Raises:
        ServerError: it cannot be installed; the message has the installer's last lines.
    """
    folder, pinned = ROOT / ".baselines" / name, _PINNED / f"{name}.txt"
    if not pinned.exists():
        return Path(sys.executable)
    stamp, python = folder / ".installed", folder / "bin" / "python"
    shared = sysconfig.get_paths()["purelib"]
    expected = hashlib.sha256(f"{pinned.read_text()}{sys.version}{folder}{shared}".encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == expected:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    library = folder / Path(shared).relative_to(sys.prefix)
    (library / "shared.pth").write_text(f"{shared}\n")
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", "-r", str(pinned)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ServerError(f"{name} could not be installed in {_INSTALL_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise ServerError(f"{name} could not be installed: " + " · ".join(done.stderr.strip().splitlines()[-2:]))
    stamp.write_text(expected)
    return python
