"""The parameters of `diffusion/config.pbtxt`, typed: those of the engine, and what only Triton needs."""

from __future__ import annotations

from pydantic import Field

from imagegen.engine.settings import EngineSettings


class DiffusionSettings(EngineSettings):
    """Configuration of one diffusion model."""

    waking_requests: int = Field(
        default=24,
        ge=1,
        description="most empty requests that wake Triton's queue at the same time (see queue_waker.py); below the"
        " thread-pool-size of the python backend, which is 32 unless set",
    )

    def instance_device(self, kind: str, number: str) -> str:
        """The device of an instance of the model, as torch names it, for the setting "auto".

        Args:
            kind: `model_instance_kind` of Triton: CPU, GPU or MODEL.
            number: its `model_instance_device_id`.

        Raises:
            ValueError: it has an instance a GPU although `devices` says which it has.
        """
        if kind == "GPU" and self.devices:
            raise ValueError(
                "parameter devices: the model has an instance a GPU, and each would have all of them; allowed is"
                " instance_group [ { kind: KIND_MODEL, count: 1 } ]"
            )
        return f"cuda:{number}" if kind == "GPU" else "cpu"
