"""Work that runs need between two forwards, and that is done for several of them as one."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol

from imagegen.engine.failure import Failure

_log = logging.getLogger(__name__)
_told: set[str] = set()  # kinds of which the log says already that they could not be done as one


class SharedTask(Protocol):
    """What one run needs."""

    @property
    def outline(self) -> Hashable:
        """What is soon known of the key: tasks of different outlines have different keys, which nobody asks for."""

    @property
    def key(self) -> Hashable:
        """Tasks of equal key are done as one; one whose key raises stays alone."""

    @property
    def kind(self) -> str:
        """What does it, for the log."""

    def alone(self) -> Any:
        """Do it by itself."""

    def together(self, tasks: Sequence[Any]) -> Sequence[Any]:
        """Do tasks of one key, of which this is the first; their results in order. Where it raises, none is done."""


def do_together(tasks: Sequence[Any], out_of_memory: tuple[type[BaseException], ...] = (MemoryError,)) -> list[Any]:
    """Do tasks, those of equal key as one.

    Args:
        tasks: `SharedTask`s.
        out_of_memory: exceptions that mean "too many at once"; of any other one the log tells once for each kind.

    Returns:
        Their results in order, a `Failure` for each that fails also by itself.
    """
    outcomes: dict[int, Any] = {}
    for similar in _groups(tasks, range(len(tasks)), "outline"):
        for indexes in [similar] if len(similar) == 1 else _groups(tasks, similar, "key"):
            done = _done([tasks[index] for index in indexes], out_of_memory)
            outcomes |= zip(indexes, done, strict=True)
    return [outcomes[index] for index in range(len(tasks))]


def _groups(tasks: Sequence[Any], indexes: Iterable[int], name: str) -> list[list[int]]:
    """The indexes of tasks that have the property of this name in common; one for which it raises is by itself."""
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index in indexes:
        try:
            groups[getattr(tasks[index], name)].append(index)
        except Exception:  # one image's task must not break what all wait for
            _tell(tasks[index])
            groups[object()].append(index)
    return list(groups.values())


def _done(tasks: Sequence[Any], out_of_memory: tuple[type[BaseException], ...]) -> list[Any]:
    if len(tasks) > 1:
        try:
            return list(tasks[0].together(tasks))
        except out_of_memory:
            _log.debug("%s: done one by one", tasks[0].kind, exc_info=True)
        except Exception:
            _tell(tasks[0])
    return [_outcome(task) for task in tasks]


def _tell(task: Any) -> None:
    """Warn, once for each kind, that sharing is lost: images come out as they should, though slower."""
    if task.kind not in _told:
        _told.add(task.kind)
        _log.warning("%s: what several images need is done one by one", task.kind, exc_info=True)


def _outcome(task: Any) -> Any:
    try:
        return task.alone()
    except Exception as error:
        return Failure(error)
