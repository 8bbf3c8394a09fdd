"""The compiled denoisers of one engine: their packages, the folder of these, and who builds what is missing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from imagegen.engine.compiled.cache_folder import CacheFolder, default_folder
from imagegen.engine.compiled.compiled_forward import CompiledForward, State, install
from imagegen.engine.compiled.package_builder import Build, PackageBuilder
from imagegen.engine.metrics import EngineMetrics
from imagegen.engine.settings import EngineSettings
from imagegen.file_names import native

STATES: tuple[State, ...] = ("building", "ready", "failed")


def compiled_denoisers(
    settings: EngineSettings,
    denoisers: Mapping[str, torch.nn.Module],
    device: torch.device,
    folder: Path,
    metrics: EngineMetrics,
) -> CompiledDenoisers | None:
    """Have denoisers run by packages where the settings say so; else None.

    Args:
        settings: of the engine.
        denoisers: by name.
        device: that they are on.
        folder: where a relative folder of packages starts.
        metrics: counts packages and forwards.
    """
    if settings.compile != "aot":
        return None
    place = folder / native(settings.compile_cache) if settings.compile_cache else default_folder()
    return CompiledDenoisers(denoisers, device, place, metrics.packages, metrics.forward_by)


class CompiledDenoisers:
    """Has the merged forwards of denoisers run by packages.

    Args:
        denoisers: by name.
        device: that they are on.
        folder: of packages.
        counted: told how many packages are in each state, on any thread.
        ran: told by what a forward was run, on the device's thread.
        build: builds a package.
    """

    def __init__(
        self,
        denoisers: Mapping[str, torch.nn.Module],
        device: torch.device,
        folder: Path,
        counted: Callable[[Mapping[str, int]], None],
        ran: Callable[[str], None],
        build: Build | None = None,
    ) -> None:
        cache = CacheFolder(folder)
        self._counted = counted
        self._builder = PackageBuilder(cache, build)
        self._has_changed = threading.Condition()
        self._forwards = [
            CompiledForward(module, device, cache.find, self._builder.order, self._changed, ran)
            for module in denoisers.values()
        ]
        for module, forward in zip(denoisers.values(), self._forwards, strict=True):
            install(module, forward)
        self._changed()

    def states(self) -> dict[str, State]:
        """The state of each package, by its key."""
        return {key: state for forward in self._forwards for key, state in forward.states().items()}

    def learn(self, learns: bool) -> None:
        """Say whether shapes that are new get packages from now on. They do at first."""
        for forward in self._forwards:
            forward.learns = learns

    def wait(self) -> None:
        """Wait until nothing is being built."""
        with self._has_changed:
            self._has_changed.wait_for(lambda: "building" not in self.states().values())

    def release(self) -> None:
        """Forget what is loaded: the weights are about to move. On the device's thread."""
        for forward in self._forwards:
            forward.release()

    def close(self) -> None:
        """End what is being built."""
        self._builder.close()

    def _changed(self) -> None:
        counts = Counter(self.states().values())
        self._counted({state: counts[state] for state in STATES})
        with self._has_changed:
            self._has_changed.notify_all()
