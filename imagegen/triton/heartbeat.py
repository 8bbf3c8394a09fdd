"""How a diffusion process shows that its engine lives, to whoever asks the server whether it does.

The device thread leaves a mark after each round of steps, and every second while there is nothing to do. It lies in
the server's run folder, so no image has to be generated for the proof, and everybody's requests count. An engine that
sleeps lives; the mark says whether an administrator has put it to sleep.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

_SUFFIX = ".alive"
_MARK = struct.Struct("<d?")  # when, on the host's clock, `time.monotonic`; whether it was put to sleep
_MOMENT, _ASLEEP = struct.Struct("<d"), struct.Struct("<?")


class Heartbeat:
    """The mark of this process. To leave it costs less than a microsecond: it is memory shared with who reads the file.

    Args:
        folder: the run folder of the server.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{os.getpid()}{_SUFFIX}"
        with self._path.open("w+b") as file:
            file.write(_MARK.pack(time.monotonic(), False))
            file.flush()
            self._shown = mmap.mmap(file.fileno(), _MARK.size)

    def beat(self) -> None:
        """The engine lives. For one thread."""
        _MOMENT.pack_into(self._shown, 0, time.monotonic())

    def lost(self) -> None:
        """The engine has ended, which is the longest silence there can be; the next `beat` ends it. For one thread."""
        _MOMENT.pack_into(self._shown, 0, 0.0)

    def set_asleep(self, asleep: bool) -> None:
        """Whether an administrator has put the engine to sleep. For one thread, which may be another."""
        _ASLEEP.pack_into(self._shown, _MOMENT.size, asleep)

    def close(self) -> None:
        """Remove the mark. Nothing may follow."""
        self._shown.close()
        self._path.unlink(missing_ok=True)


def quiet_s(folder: Path) -> float | None:
    """Seconds since the last mark of the process that has left none for the longest; None when there is no process."""
    moments = [moment for moment, _ in _marks(folder)]
    return max(0.0, time.monotonic() - min(moments)) if moments else None


def is_asleep(folder: Path) -> bool:
    """Whether an administrator has put an engine of the server to sleep."""
    return any(asleep for _, asleep in _marks(folder))


def all_serve(folder: Path) -> bool:
    """Whether each diffusion process of the server has an engine that is awake; true where there is no such process."""
    return all(moment > 0 and not asleep for moment, asleep in _marks(folder))


def _marks(folder: Path) -> Iterator[tuple[float, bool]]:
    for path in folder.glob("*" + _SUFFIX):
        if Path("/proc", path.stem).exists():
            try:
                yield _MARK.unpack(path.read_bytes())
            except (OSError, struct.error):  # its process is just starting or ending
                continue
