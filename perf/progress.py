"""What a person sees while it runs, on stderr; seldom redrawn, since that takes time from what is measured."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def silence_libraries() -> None:
    """No progress bars of the libraries' own."""
    libraries: tuple[Any, ...] = (diffusers, transformers)
    for library in libraries:
        library.utils.logging.disable_progress_bar()


def quiet_progress(console: Console) -> Progress:
    """A progress display without a thread of its own: it is drawn where `refresh` is called."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, auto_refresh=False)
