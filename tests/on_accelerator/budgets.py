"""What a request may cost on a device, by tick and in all, outside the merged forward. docs/engine.md has the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Of one request.

    Attributes:
        launches: a tick.
        noise: copies to the device a tick: what the seed defines and the host draws.
        calls: denoiser calls a tick: each merged forward has one more copy to the device, the timesteps of all.
        to_host: copies to the host in all: the image, what the pipeline itself reads, and what only it knew of the
            content of keys (rope ids, masks).
        forward_waits: synchronisations in the model's own forward, for each call.
        waits: synchronisations a tick that the pipeline's own loop makes, where nothing can be put in its place.
    """

    launches: int
    noise: int = 0
    calls: int = 1
    to_host: int = 1
    forward_waits: int = 0
    waits: int = 0


MOST_LAUNCHES = 20  # a denoiser call
FURTHER_LAUNCHES = 7  # a denoiser call of each further image that stands at the same step: its step is another's

SCHEDULERS: dict[str, Budget] = {  # with Stable Diffusion
    "ddim": Budget(10),
    "ddpm": Budget(9, noise=1),
    "deis": Budget(16),
    "dpmpp_2m": Budget(14),
    "dpmpp_sde": Budget(11, noise=1),
    "euler": Budget(11),
    "euler_ancestral": Budget(10, noise=1),
    "heun": Budget(24, calls=2),
    "pndm": Budget(16),
    "unipc": Budget(19),
}

FAMILIES: dict[str, Budget] = {  # with the checkpoint's own scheduler
    "sd": Budget(10),
    "sdxl": Budget(11),
    "sd3": Budget(6),
    "flux": Budget(2, to_host=3),
    "pixart-sigma": Budget(15),
    "sana": Budget(6),
    "lumina2": Budget(10, calls=2, forward_waits=4),
    "qwen-image": Budget(5, to_host=3),
    "z-image": Budget(8, to_host=3),
}

CONDITIONS: dict[str, Budget] = {  # with references, or with one or two control networks
    "sd-control": Budget(15, calls=3),
    "flux-control": Budget(2, calls=2, to_host=4, waits=2),  # guidance is made of a number, for either network
    "flux2": Budget(4, to_host=10),
    "flux-kontext": Budget(3, to_host=4),
    "qwen-image-edit-plus": Budget(16, calls=2, to_host=15),
}


def rows() -> list[str]:
    """The rows of the table in the document."""
    families = [(name, budget) for name, budget in FAMILIES.items() if name != "sd"]
    return [
        f"| {name} | {budget.calls} | {budget.launches} | {budget.noise} | {budget.to_host} | {budget.forward_waits} |"
        for name, budget in (*SCHEDULERS.items(), *families)
    ]
