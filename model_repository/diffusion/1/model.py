"""`diffusion`: prompt, parameters and pixels in, frames uint8 [n,H,W,3] out; requests share denoiser forwards.

requests -> Admission -> EngineProcess (imagegen.engine.worker) -> responses, from other threads
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from imagegen.engine import EngineProcess
from imagegen.triton.administration import Administration
from imagegen.triton.admission import Admission
from imagegen.triton.commands import CANCEL, CommandServer, cancel_command
from imagegen.triton.diffusion_settings import DiffusionSettings
from imagegen.triton.heartbeat import Heartbeat
from imagegen.triton.metric_series import TritonSeries
from imagegen.triton.parameters import read_parameters
from imagegen.triton.process import end_process, start_process
from imagegen.triton.queue_waker import QueueWaker
from imagegen.triton.shared_settings import publish_diffusion
from imagegen.triton.side_channel import EventSender
from imagegen.triton.triton_request import TritonRequest
from imagegen.triton.waking_request import is_waking_request, send_waking_request


class TritonPythonModel:
    """The engine in Triton; `imagegen.triton.admission` has the way of a request."""

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine's process, which loads the checkpoint and generates the warm-up images."""
        folder = self._folder = start_process()
        settings = read_parameters(args["model_config"], DiffusionSettings)
        device = settings.instance_device(args["model_instance_kind"], args["model_instance_device_id"])
        self._heartbeat = Heartbeat(folder)
        self._engine = EngineProcess(
            settings,
            model_folder=Path(__file__).parent,
            device=device,
            run_folder=folder,
            new_series=TritonSeries(instance=args["model_instance_name"], device="+".join(settings.devices) or device),
            on_alive=self._heartbeat.beat,
            on_lost=self._heartbeat.lost,
        )
        offer = partial(publish_diffusion, folder, settings, self._engine.description)
        offer(self._engine.catalog)
        self._events = EventSender(folder)
        self._admission = Admission(self._engine, self._events.send)
        self._administration = Administration(self._engine, self._heartbeat, args["model_instance_name"], offer)
        commands = {CANCEL: cancel_command(self._engine.cancel), **self._administration.commands()}
        self._commands = CommandServer(folder, commands)
        self._waker = QueueWaker(partial(send_waking_request, args["model_name"]), settings.waking_requests)

    def execute(self, requests: list[Any]) -> None:
        """Take requests; blocks while no slot is free. The responses come from other threads."""
        self._waker.entered()
        real = False
        try:
            for request in requests:
                if is_waking_request(request):
                    TritonRequest(request).send({})
                else:
                    real = True
                    self._admission.submit(TritonRequest(request))
        finally:
            self._waker.returned(real=real)

    def finalize(self) -> None:
        """Finish what is being generated, refuse the rest."""
        self._waker.close()
        self._engine.close()
        self._commands.close()
        self._admission.close()
        self._administration.close()
        self._heartbeat.close()
        self._events.close()
        end_process(self._folder)
