"""How an exception is handed to the run that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType


@dataclass
class Failure:
    """Hands over an exception and forgets it: its traceback leads to the tensors of the call, and back to here."""

    error: Exception | None

    def take(self) -> tuple[type[Exception], Exception, TracebackType | None]:
        """Type, exception and traceback: without the last, `throw` forgets where in the model it was raised."""
        assert self.error is not None
        error, self.error = self.error, None
        return type(error), error, error.__traceback__
