"""The engine as a library: many requests at once, from threads and from asyncio, on one device.

    arguments -> ImageRequest -> Plan -> slot -> images on the device thread -> result on a response thread

An adapter of a server goes the same way with requests of its own (`new_request`, `submit`).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from imagegen.api.errors import InvalidArgument, Unavailable
from imagegen.api.events import Event
from imagegen.api.input_images import NO_IMAGES, InputImages
from imagegen.api.limits import check_sleep_level
from imagegen.api.request import ImageRequest
from imagegen.api.values import shown
from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.adapter_table import Updates
from imagegen.engine.adapters.engine_adapters import (
    adapter_store,
    prepare_compiled,
    touched_layers,
    trial_updates,
    warm_up_updates,
)
from imagegen.engine.backlog import Backlog
from imagegen.engine.cached_encoders import Caches, with_caches
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.compiled.compiled_denoisers import compiled_denoisers
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.device_memory import DeviceMemory
from imagegen.engine.generation import Generation
from imagegen.engine.image_generator import ImageGenerator, Respond
from imagegen.engine.lifecycle import RequestLifecycle
from imagegen.engine.measured_tuning import MeasuredTuning
from imagegen.engine.metric_families import NewSeries, discard
from imagegen.engine.metrics import EngineMetrics
from imagegen.engine.model_runner import ModelRunner
from imagegen.engine.preemptible_vae import with_preemption
from imagegen.engine.ranks.devices import default_device, rank_devices
from imagegen.engine.ranks.rank_group import RankGroup
from imagegen.engine.settings import EngineSettings
from imagegen.engine.warm_up import warm_up
from imagegen.metrics import CacheStatistics
from imagegen.pipelines.checkpoint import Pipelines, load_pipelines
from imagegen.pipelines.denoisers import denoisers_of
from imagegen.pipelines.plan import Plan, make_plan
from imagegen.pipelines.warmup import warmup_plans

_log = logging.getLogger(__name__)


class Engine(ImageGenerator[Generation]):
    """Generates images with one checkpoint on one device, all requests at once, step by step.

    All methods but `warm_up` and `close` are safe from any thread.

    Args:
        settings: which checkpoint, and how its device is shared.
        pipelines: the checkpoint, where it is loaded already; loaded as `settings` say otherwise.
        new_series: makes a series of your metrics for a family and labels (`FAMILIES` of
            `imagegen.engine.metric_families`); its `increment`, `set` and `observe` are called a few times a second,
            on a thread.
        on_alive: called on the device's thread after each round of steps, and every second while there is nothing to
            do: who waits for it in vain for longer than a step takes knows that the device hangs.
        ranks: the other devices that share each forward, where `pipelines` are loaded; None for one device.
        folder: where a relative model path, those of adapters and that of packages start.

    Attributes:
        compiled: its packages of compiled code; None unless the setting `compile` is "aot".

    Raises:
        OSError: there is no such checkpoint.
        ValueError: the checkpoint or a setting does not fit.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        pipelines: Pipelines | None = None,
        new_series: NewSeries = discard,
        on_alive: Callable[[], None] = lambda: None,
        ranks: RankGroup | None = None,
        folder: Path = Path(),
    ) -> None:
        if len(settings.devices) > 1 and ranks is None:
            raise ValueError("parameter devices: several need an engine in a process of its own, an EngineProcess")
        if pipelines is None:
            pipelines = load_pipelines(settings, folder, *rank_devices(settings, default_device()))
        self._caches = caches = Caches(*map(ContentCache, (settings.prompt_cache_bytes, settings.image_cache_bytes)))
        super().__init__(settings, folder)
        self.pipelines = with_caches(with_preemption(pipelines), caches)
        self._metrics = EngineMetrics(new_series, self._caches_by_name, pipelines.device, ranks.count if ranks else 1)
        self._adapters = adapter_store(settings, pipelines, folder, self._metrics.lora_read)
        self._backlog = backlog = Backlog()
        self._runner = ModelRunner(
            settings, self.pipelines, self._metrics, self._adapters, on_alive, ranks, backlog.seen
        )
        self._ranks = ranks
        self._denoisers = denoisers_of(next(iter(pipelines.tasks.values())).pipeline)
        if pipelines.takes_loras:
            prepare_compiled(settings, self._denoisers)
        self.compiled = compiled_denoisers(settings, self._denoisers, pipelines.device, folder, self._metrics)
        self._lifecycle = RequestLifecycle(settings.max_active_requests, self._runner, self.pipelines, self._metrics)
        self.line = self._lifecycle.line
        slots = self.line.slots
        backlog.waiting = lambda: slots.waiting
        self._device_memory = DeviceMemory(self.pipelines, caches, self._adapters, self.compiled)
        self._sleep_turn = threading.Lock()
        self._sleeping = 0

    def check_loras(self) -> None:
        """Read the adapters that are configured by name; a folder that is not there is only said in the log.

        Raises:
            ValueError: one cannot be read, or does not fit the model; it is named.
        """
        if self.catalog.folder and not Path(self.catalog.folder).is_dir():
            _log.warning("lora_folder: there is no folder %s now; its adapters are not on offer", self.catalog.folder)
        for name, where in self.catalog.modules.items():
            try:
                self._check_lora(name, where)
            except InvalidArgument as error:
                raise ValueError(f"parameter lora_modules: {error}") from error

    def offer_loras(self, modules: Mapping[str, str]) -> None:
        """Offer these adapters by name, instead of those that are configured; they are read when they are asked for."""
        with self._catalog_turn:
            self._catalog = self._catalog.model_copy(update={"modules": dict(modules)})

    def line_elsewhere(self, waits: bool) -> None:
        """Say whether requests wait for this engine in the line of another process."""
        self._backlog.waits_elsewhere = waits

    @property
    def granularity_px(self) -> int:
        """Both sides of an image are multiples of this."""
        return self.pipelines.granularity_px

    def warm_up(self) -> None:
        """Generate the checkpoint's own task at the configured sizes, one image and as many as fill each row bucket.

        Each other task is generated once, at the smallest. Where the device says what it holds, one image more shows
        what it takes; where that cannot be measured, or something else uses the device meanwhile, the log says so and
        nothing is learnt of that size.

        A task that diffusers derives from the checkpoint and that fails is not offered afterwards.

        Raises:
            ValueError: a warm-up size is malformed or not allowed, or the checkpoint's own task cannot be done.
                Whatever else goes wrong with an image.
        """
        with_adapters = self._prepare_adapters()
        if self.compiled is not None:
            self.compiled.learn(True)
        if self.settings.chooses_by_measuring:
            plan = next(warmup_plans(self.pipelines, self.settings, self.settings.warmup_sizes[:1]))
            self._runner.see_first_call(plan, MeasuredTuning(self.settings).choose)
        for plan in warmup_plans(self.pipelines, self.settings, self.settings.warmup_sizes):
            warm_up(plan, self.pipelines, self.settings, self._runner, self._caches, with_adapters)
        if self.compiled is not None:
            self.compiled.learn(False)

    def plan(self, request: ImageRequest, images: InputImages = NO_IMAGES, previews: int = 0) -> Plan:
        """Resolve a request against the checkpoint.

        Args:
            request: the validated request.
            images: its input images.
            previews: of each image that are asked for.

        Raises:
            InvalidArgument: the checkpoint cannot do what is asked.
        """
        plan = make_plan(request, images, self.pipelines, self.settings, self.catalog)
        if self._ranks is not None:
            self._ranks.check_size(plan.size, self.granularity_px, has_references=bool(plan.references))
        if previews and self.pipelines.projection is None:
            plan = replace(plan, warnings=(*plan.warnings, "partial_images: this model has no previews"))
        return plan

    def new_request(
        self,
        asked: ImageRequest,
        images: InputImages,
        previews: int,
        respond: Respond,
        *,
        token: CancelToken,
        publish: Callable[[Event], None] | None = None,
        arrived_s: float | None = None,
        entered_s: float | None = None,
        left: Callable[[], None] = lambda: None,
    ) -> Generation:
        """See `ImageGenerator`; `left` is that of `Generation`."""
        return Generation(
            self.plan(asked, images, previews),
            respond,
            token,
            arrived_s=time.monotonic() if arrived_s is None else arrived_s,
            entered_s=math.inf if entered_s is None else entered_s,
            publish=publish,
            previews=previews,
            left=left,
        )

    @property
    def sleeping(self) -> int:
        """See `ImageGenerator`."""
        return self._sleeping

    def sleep(self, level: int = 1) -> None:
        """See `ImageGenerator`; an engine in this process knows level 1 alone.

        Raises:
            InvalidArgument: it is another level.
            MemoryError: the host has no room for the weights; they are where they were.
            Unavailable: the engine is closed.
        """
        check_sleep_level(level, (1,))
        with self._sleep_turn:
            self.line.sleep()
            if self._sleeping:
                return
            if not self.line.drain(self.settings.drain_timeout_s):
                self.line.end_all(Unavailable("the engine was put to sleep; send the request again"))
                self.line.drain(math.inf)
            try:
                self._runner.run_on_device_thread(self._device_memory.give_back)
            except BaseException:
                self._wake()
                raise
            self._sleeping = level
            self._metrics.sleeping(level)

    def wake(self) -> None:
        """See `ImageGenerator`.

        Raises:
            torch.OutOfMemoryError: something else has the device's memory now; the engine goes on sleeping.
            Unavailable: the engine is closed.
        """
        with self._sleep_turn:
            if self._sleeping:
                self._wake()

    def _prepare_adapters(self) -> Mapping[str, Updates] | None:
        """Updates of adapters with which compiled denoisers are warmed up too; None where there are to be none."""
        if not self.pipelines.takes_loras or not self.catalog.is_configured:
            return None
        if self.compiled is None:
            return warm_up_updates(self._denoisers) if self.settings.compile == "torch" else None
        layers = touched_layers(self._adapters, self.catalog, self.settings.max_loras)
        self.compiled.take_updates(layers)
        return trial_updates(self._denoisers, layers)

    def _check_lora(self, name: str, where: str) -> None:
        if not self.pipelines.takes_loras:
            raise InvalidArgument("lora_name", f"the model {self.pipelines.name} takes no adapters")
        try:
            self._adapters.check(where)
        except AdapterError as error:
            raise InvalidArgument("lora_path", f"{shown(name)} cannot be used: {error}") from error

    def _forget_lora(self, name: str, where: str) -> None:
        self._adapters.forget(where)

    def _caches_by_name(self) -> dict[str, CacheStatistics]:
        own = {name: cache.statistics for name, cache in self._caches.by_name().items()}
        return own | self._adapters.statistics()

    def _wake(self) -> None:
        """Take the device's memory again, all of it or nothing, and give slots."""
        try:
            self._runner.run_on_device_thread(self._device_memory.take_again)
        except BaseException:
            self._runner.run_on_device_thread(self._device_memory.give_back)
            raise
        self._sleeping = 0
        self._metrics.sleeping(0)
        self.line.wake()
        self.line.slots.resume()

    def close(self) -> None:
        """Finish what is being generated within `drain_timeout_s`, refuse the rest; of no effect the second time."""
        self._lifecycle.close(self.settings.drain_timeout_s)
        if self.compiled is not None:
            self.compiled.close()
        self._metrics.close()
