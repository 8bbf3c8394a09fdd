"""What a server says of its start in its log: which checkpoint is loaded, how large it is, what is warmed up."""

from __future__ import annotations

import re
from pathlib import Path

# As `imagegen.triton.process` formats the log of model processes.
_LINE = re.compile(r"^INFO imagegen\.(?:pipelines\.checkpoint|pipelines\.loading|engine\.warm_up): (.*)$", re.MULTILINE)


class StartLog:
    """Reads the log of a server while it grows.

    Args:
        log_file: may not be there yet.
    """

    def __init__(self, log_file: Path) -> None:
        self._log_file = log_file
        self._at = 0

    def news(self) -> list[str]:
        """What has been said since the last call, in whole lines."""
        try:
            with self._log_file.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return _LINE.findall(whole.decode(errors="replace"))
