"""The compiled denoisers of one engine: their packages, the folder of these, and who builds what is missing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from imagegen.engine.adapters.update_inputs import LayerNames
from imagegen.engine.compiled.cache_folder import CacheFolder
from imagegen.engine.compiled.compiled_forward import CompiledForward, State, install
from imagegen.engine.compiled.package_builder import Build, PackageBuilder
from imagegen.engine.metrics import EngineMetrics
from imagegen.engine.settings import EngineSettings
from imagegen.file_names import native
from imagegen.user_caches import user_cache_folder

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
    place = folder / native(settings.compile_cache) if settings.compile_cache else user_cache_folder("compiled")
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
        self._forwards = {
            name: CompiledForward(module, device, cache.find, self._builder.order, self._changed, ran)
            for name, module in denoisers.items()
        }
        for name, module in denoisers.items():
            install(module, self._forwards[name])
        self._changed()

    def states(self) -> dict[str, State]:
        """The state of each package, by its key."""
        return {key: state for forward in self._forwards.values() for key, state in forward.states().items()}

    def take_updates(self, layers: Mapping[str, LayerNames]) -> None:
        """Say which layers' updates by adapters get packages, by denoiser. On no thread while there are forwards."""
        for name, forward in self._forwards.items():
            forward.take_updates(layers.get(name, ()))

    def learn(self, learns: bool) -> None:
        """Say whether shapes that are new get packages from now on. They do at first."""
        for forward in self._forwards.values():
            forward.learns = learns

    def wait(self) -> None:
        """Wait until nothing is being built."""
        with self._has_changed:
            self._has_changed.wait_for(lambda: "building" not in self.states().values())

    def release(self) -> None:
        """Forget what is loaded: the weights are about to move. On the device's thread."""
        for forward in self._forwards.values():
            forward.release()

    def close(self) -> None:
        """End what is being built."""
        self._builder.close()

    def _changed(self) -> None:
        counts = Counter(self.states().values())
        self._counted({state: counts[state] for state in STATES})
        with self._has_changed:
            self._has_changed.notify_all()
