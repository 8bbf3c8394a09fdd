"""How a diffusion process shows that its engine lives, to whoever asks the server whether it does.

The device thread leaves a mark after each round of steps, and every second while there is nothing to do. It lies in
the server's run folder, so no image has to be generated for the proof, and everybody's requests count.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

_SUFFIX = ".alive"
_MOMENT = struct.Struct("<d")  # on the host's clock, `time.monotonic`


class Heartbeat:
    """The mark of this process. To leave it costs less than a microsecond: it is memory shared with who reads the file.

    Args:
        folder: the run folder of the server.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{os.getpid()}{_SUFFIX}"
        with self._path.open("w+b") as file:
            file.write(_MOMENT.pack(time.monotonic()))
            file.flush()
            self._shown = mmap.mmap(file.fileno(), _MOMENT.size)

    def beat(self) -> None:
        """The engine lives. For one thread."""
        _MOMENT.pack_into(self._shown, 0, time.monotonic())

    def lost(self) -> None:
        """The engine has ended, which is the longest silence there can be; the next `beat` ends it. For one thread."""
        _MOMENT.pack_into(self._shown, 0, 0.0)

    def close(self) -> None:
        """Remove the mark. No `beat` may follow."""
        self._shown.close()
        self._path.unlink(missing_ok=True)


def quiet_s(folder: Path) -> float | None:
    """Seconds since the last mark of the process that has left none for the longest; None when there is no process."""
    moments: list[float] = []
    for path in folder.glob("*" + _SUFFIX):
        if Path("/proc", path.stem).exists():
            try:
                moments += _MOMENT.unpack(path.read_bytes())
            except (OSError, struct.error):  # its process is just starting or ending
                continue
    return max(0.0, time.monotonic() - min(moments)) if moments else None
