"""The peers' environments, made on demand in `.peers/`: small, because torch and diffusers are those of `.venv`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from imagegen.launch.child_process import ServerError

_ROOT = Path(__file__).resolve().parents[2]
_PINNED = Path(__file__).resolve().parent
_INSTALL_TIMEOUT_S = 600


def make_environment(name: str) -> Path:
    """The Python of the peer's environment, made anew where what is pinned in `<name>.txt` has changed.

    Packages that `.venv` has in the same version are not installed again.

    Args:
        name: of the peer.

    Raises:
        ServerError: it cannot be installed; the message has the installer's last lines.
    """
    folder = _ROOT / ".peers" / name
    pinned, stamp, python = _PINNED / f"{name}.txt", folder / ".installed", folder / "bin" / "python"
    shared = sysconfig.get_paths()["purelib"]
    wanted = hashlib.sha256(f"{pinned.read_text()}{sys.version}{folder}{shared}".encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
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
    stamp.write_text(wanted)
    return python
