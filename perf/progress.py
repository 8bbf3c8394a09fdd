"""What a person sees on stderr while it runs; seldom refreshed, since that takes time from what is measured."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def quiet_progress() -> Progress:
    """A progress display without a thread of its own: it is shown anew only where `refresh` is called."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False)
