"""Keeps attention processors that one image installs on a shared module away from the other images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class AttentionSwap:
    """Lets one image of a pipeline that sets attention processors for the length of its call (PAG, LEDITS++) wait.

    While the image waits the module has its original processors; for the image's own forwards it gets those
    that the image installed. To be made while the module has its originals.
    """

    def __init__(self, module: Any) -> None:
        self._layers = [layer for layer in module.modules() if hasattr(layer, "set_processor")]
        self._originals = self._installed = self._current()

    def suspend(self) -> None:
        """Take note of what the image has installed and put the originals back."""
        current = self._current()
        if any(now is not original for now, original in zip(current, self._originals, strict=True)):
            self._installed = current
            self.restore()

    def restore(self) -> None:
        """Put the originals back."""
        self._install(self._originals)

    @contextmanager
    def own(self) -> Iterator[None]:
        """A context in which the module has the image's processors."""
        self._install(self._installed)
        try:
            yield
        finally:
            self.restore()

    def _current(self) -> list[Any]:
        return [layer.processor for layer in self._layers]

    def _install(self, processors: list[Any]) -> None:
        for layer, processor in zip(self._layers, processors, strict=True):
            if layer.processor is not processor:
                layer.set_processor(processor)
