"""Work that runs need between two forwards, and that is done for several of them as one."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from imagegen.engine.failure import Failure

_log = logging.getLogger(__name__)


class SharedTask(Protocol):
    """What one run needs."""

    @property
    def key(self) -> Hashable:
        """Tasks of equal key are done as one."""

    def alone(self) -> Any:
        """Do it by itself."""

    def together(self, tasks: Sequence[Any]) -> Sequence[Any]:
        """Do tasks of one key, of which this is the first; their results in order. Where it raises, none is done."""


def do_together(tasks: Sequence[Any]) -> list[Any]:
    """Do tasks, those of equal key as one.

    Args:
        tasks: `SharedTask`s.

    Returns:
        Their results in order, a `Failure` for each that fails also by itself.
    """
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, task in enumerate(tasks):
        groups[task.key].append(index)
    outcomes: dict[int, Any] = {}
    for indexes in groups.values():
        outcomes |= zip(indexes, _done([tasks[index] for index in indexes]), strict=True)
    return [outcomes[index] for index in range(len(tasks))]


def _done(tasks: Sequence[Any]) -> list[Any]:
    if len(tasks) > 1:
        try:
            return list(tasks[0].together(tasks))
        except Exception:  # too many at once for the device's memory, say
            _log.debug("done one by one", exc_info=True)
    return [_outcome(task) for task in tasks]


def _outcome(task: Any) -> Any:
    try:
        return task.alone()
    except Exception as error:
        return Failure(error)
