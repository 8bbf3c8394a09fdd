"""Second stage: the text encoder alone learns to say what a caption says.

A transformer of two layers needs long to find out which colour word belongs to which noun, and next to images, whose
backgrounds are most of the error, it never came to that (places were not learned in 5000 steps). Asked directly it
takes minutes. The linear answers are thrown away; what is kept is that every state from the end of the text on, the
padding too, holds the background and one of the things with the place where it stands: the state at position p holds
thing p modulo 3. While all of them held all things, the denoiser painted each of two things as a mixture of both; now
a place in the image can attend to the states of what stands there.
"""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from checkpoint import captions, data
from checkpoint.networks import text_ends
from checkpoint.rates import ramp_and_cosine
from checkpoint.scenes import COLOURS, MOST_THINGS, PLACES, SCENERY, SHAPES, Scene, layout, random_scene

STEPS = 2500
BATCH = 64
_PEAK_RATE = 2e-3
_STATES = 6  # of each caption's states from the end on; all 77 are as good and cost more
_DROPOUT = 0.03

_BACKGROUND: tuple[tuple[str | None, ...], ...] = (
    (None, "plain", "gradient", *SCENERY),
    (None, *COLOURS),  # upper
    (None, *COLOURS),  # lower
)
_THING: tuple[tuple[str | None, ...], ...] = (
    (None, *SHAPES),
    (None, *COLOURS),
    (None, "small", "large"),
    (None, *PLACES),
)
_QUESTIONS = (*_BACKGROUND, *_THING)


def make_answers(width: int) -> nn.Linear:
    """Reads a state of `width` numbers: one logit for every possible answer to every question."""
    return nn.Linear(width, sum(len(options) for options in _QUESTIONS))


def batch(step: int, seed: int, tokenizer: CLIPTokenizer, scale: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch `step`: token ids int64 [b, 77] and the right answers, int64 [b, 3 things, questions]."""
    rng = Random(f"text {seed} {step}")
    texts, answers = [], []
    for _ in range(scale * BATCH):
        if rng.random() < _DROPOUT:
            texts.append("")
            answers.append(_answers(Scene((), None)))
            continue
        text = data.caption(random_scene(rng, data.PAIRS), rng)
        texts.append(text)
        answers.append(_answers(captions.parse(text)))
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return tokens, torch.tensor(answers)


def rate(progress: int) -> float:
    """Learning rate after `progress` of STEPS."""
    return ramp_and_cosine(_PEAK_RATE, progress, STEPS)


def loss(
    text_encoder: CLIPTextModel,
    reader: nn.Linear,
    batch: tuple[torch.Tensor, torch.Tensor],
    noise: torch.Generator,
) -> torch.Tensor:
    """Mean cross entropy of the answers, read from some of the states from the end token on."""
    tokens, answers = (tensor.to(text_encoder.device) for tensor in batch)
    states = text_encoder(tokens)[0]  # [b, 77, width]
    ends = text_ends(text_encoder, tokens)
    behind = torch.rand(len(tokens), _STATES, generator=noise).to(ends.device)
    chosen = ends[:, None] + (behind * (tokens.shape[1] - ends[:, None])).long()  # [b, _STATES]
    logits = reader(states.gather(1, chosen[..., None].expand(-1, -1, states.shape[-1])))
    held = (chosen % MOST_THINGS)[..., None].expand(-1, -1, answers.shape[-1])
    right = answers.gather(1, held)  # [b, _STATES, questions]
    losses = [
        F.cross_entropy(part.flatten(0, 1), right[..., question].flatten())
        for question, part in enumerate(logits.split([len(options) for options in _QUESTIONS], dim=-1))
    ]
    return torch.stack(losses).mean()


def _answers(scene: Scene) -> list[list[int]]:
    """For each of three things, the number of the answer to each question."""
    background = scene.background
    colours = background.colours if background else ()
    behind = (
        background.kind if background else None,
        colours[0] if colours else None,
        colours[-1] if colours else None,
    )
    things: list[tuple[str | None, ...]] = [
        (thing.shape, thing.colour, thing.size, place) for thing, place in layout(scene)
    ]
    things += [(None,) * len(_THING)] * (MOST_THINGS - len(things))
    return [
        [options.index(answer) for options, answer in zip(_QUESTIONS, (*behind, *thing), strict=True)]
        for thing in things
    ]
