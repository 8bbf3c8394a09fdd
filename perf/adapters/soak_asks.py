"""What a soak with adapters asks for, and which outcome of each request is right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from imagegen.api.errors import Cancelled, InvalidArgument
from perf.adapters.soak_files import SoakFiles

MOST_LEVELS = 1
ENDLESS_STEPS = 900
_PROMPTS = ("a large red heart", "two small yellow stars at night", "a green circle", "an orange triangle on grass")
_LONGEST_CANCEL_S = 0.15
_UNKNOWN = ("nobody", "../s0", "s0.safetensors", "s0 ", "bad-")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Wanted:
    """What decides an image.

    Attributes:
        loras, scales: of the adapters.
        prompt, seed, steps, guidance: of the image.
    """

    loras: tuple[str, ...]
    scales: tuple[float, ...]
    prompt: str
    seed: int
    steps: int
    guidance: float

    def options(self, side_px: int) -> dict[str, Any]:
        """The arguments of `Engine.generate` besides the prompt."""
        chosen = {"lora": list(self.loras), "lora_scale": list(self.scales)} if self.loras else {}
        return chosen | {
            "size": (side_px, side_px),
            "seed": self.seed,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
        }


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        wanted: its image.
        cancel_after_s: when it is cancelled by its name; None for never.
    """

    wanted: Wanted
    cancel_after_s: float | None = None

    @property
    def endless(self) -> bool:
        """Nobody waits for its end: it is cancelled before."""
        return self.wanted.steps == ENDLESS_STEPS


class Offer(Enum):
    """Whether a request's names were on offer from before it came until after its response."""

    ALL = "all were"
    NOT_ALL = "one was not"
    CHANGED = "one came or went meanwhile"


def random_wanted(dice: random.Random, files: SoakFiles) -> Wanted:
    """An image without adapters, with one, or with two."""
    count = dice.choices((0, 1, 2), (1, 4, 4))[0]
    names = dice.sample(list(files.good), count)
    scales = tuple(round(dice.uniform(-1, 1.5), 2) for _ in names)
    guidance = dice.choice((1.0, 7.5, 7.5))
    return Wanted(tuple(names), scales, dice.choice(_PROMPTS), dice.getrandbits(16), dice.choice((1, 2)), guidance)


def random_asks(dice: random.Random, files: SoakFiles, known: Sequence[Wanted], count: int) -> list[Ask]:
    """Requests of all kinds, more than half of them for images that are known."""
    return [_random_ask(dice, files, known) for _ in range(count)]


def _random_ask(dice: random.Random, files: SoakFiles, known: Sequence[Wanted]) -> Ask:
    kind = dice.choices(("known", "new", "refused", "cancelled", "endless"), (62, 14, 10, 8, 6))[0]
    wanted = dice.choice(known) if kind == "known" else random_wanted(dice, files)
    if kind == "refused":
        wrong = dice.choice((*files.faulty, *_UNKNOWN))
        names, scales = wanted.loras[:1], wanted.scales[:1]
        both = [(*names, wrong), (wrong, *names)][dice.randrange(2)]
        return Ask(_with(wanted, both, (*scales, 1.0)))
    if kind in ("cancelled", "endless"):
        steps = ENDLESS_STEPS if kind == "endless" else wanted.steps
        return Ask(_with(wanted, wanted.loras, wanted.scales, steps), dice.uniform(0, _LONGEST_CANCEL_S))
    return Ask(wanted)


def _with(wanted: Wanted, loras: tuple[str, ...], scales: tuple[float, ...], steps: int | None = None) -> Wanted:
    return Wanted(loras, scales, wanted.prompt, wanted.seed, steps or wanted.steps, wanted.guidance)


def fault(ask: Ask, offer: Offer, outcomes: Sequence[Pixels | BaseException], expected: Pixels | None) -> str:
    """What is wrong with a request's outcomes; empty where nothing is.

    Args:
        ask: the request.
        offer: whether its names were on offer; a faulty file counts as one that is not.
        outcomes: all that it got: images, uint8 [H, W, 3], or errors.
        expected: its image, where that is known.
    """
    if len(outcomes) != 1:
        return f"{len(outcomes)} outcomes"
    [outcome] = outcomes
    if isinstance(outcome, InvalidArgument):
        if offer is Offer.ALL:
            return f"refused though all were on offer: {outcome}"
        return "" if outcome.field == "lora" else f"refused for another reason: {outcome}"
    if isinstance(outcome, Cancelled):
        return "" if ask.cancel_after_s is not None else "cancelled by nobody"
    if isinstance(outcome, BaseException):
        return f"{type(outcome).__name__}: {outcome}"
    if offer is Offer.NOT_ALL:
        return "an image though not all were on offer"
    if ask.endless:
        return "an image though it was cancelled long before"
    if expected is not None and (off := int(np.abs(outcome.astype(int) - expected).max())) > MOST_LEVELS:
        return f"another image, by {off} levels"
    return ""
