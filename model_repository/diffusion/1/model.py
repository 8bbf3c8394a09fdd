"""`diffusion`: prompt, parameters and pixels in, frames uint8 [n,H,W,3] out; requests share denoiser forwards."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from imagegen.engine.generator import Generator

from imagegen.engine.metrics import Measures
from imagegen.pipelines.checkpoint import load_pipelines
from imagegen.triton.diffusion_settings import DiffusionSettings
from imagegen.triton.metric_series import TritonSeries
from imagegen.triton.parameters import read_parameters
from imagegen.triton.process import end_process, start_process
from imagegen.triton.queue_waker import QueueWaker
from imagegen.triton.shared_settings import publish_diffusion
from imagegen.triton.side_channel import CancelServer, EventSender
from imagegen.triton.triton_request import TritonRequest
from imagegen.triton.waking_request import is_waking_request, send_waking_request


class TritonPythonModel:
    """Adapter; `generator` draws the way of a request."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint, start the device thread and draw the warmup images."""
        folder = self._folder = start_process()
        settings = read_parameters(args["model_config"], DiffusionSettings)
        device = f"cuda:{args['model_instance_device_id']}" if args["model_instance_kind"] == "GPU" else "cpu"
        offers = load_pipelines(settings, Path(__file__).parent, device)
        publish_diffusion(folder, settings, offers.granularity_px)
        new_series = TritonSeries(instance=args["model_instance_name"], device=device)
        measures = Measures(new_series, offers.caches, offers.device)
        self._events = EventSender(folder)
        self._generator = Generator(settings, offers, measures, self._events.send)
        self._generator.warm_up()
        self._cancels = CancelServer(folder, self._generator.cancel)
        self._waker = QueueWaker(partial(send_waking_request, args["model_name"]), settings.waking_requests)

    def execute(self, requests: list[Any]) -> None:
        """Take requests; blocks while no slot is free, and they are answered from other threads."""
        self._waker.entered()
        real = False
        try:
            for request in requests:
                if is_waking_request(request):
                    TritonRequest(request).send({})
                else:
                    real = True
                    self._generator.submit(TritonRequest(request))
        finally:
            self._waker.returned(real=real)

    def finalize(self) -> None:
        """Finish what is being drawn, refuse the rest."""
        self._waker.close()
        self._generator.close()
        self._cancels.close()
        self._events.close()
        end_process(self._folder)
