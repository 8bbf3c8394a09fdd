"""Second stage: the text encoder alone learns to say what a caption says.

A transformer of two layers needs long to find out which colour word belongs to which noun, and next to pictures, whose
backgrounds are most of the error, it never came to that (places were not learned in 5000 steps). Asked directly it
takes minutes. The linear answers are thrown away; what is kept is that every state from the end of the text on, the
padding too, holds the whole scene.
"""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from checkpoint import captions, data
from checkpoint.rates import ramp_and_cosine
from checkpoint.scenes import COLOURS, PLACES, RELATIONS, SCENERY, SHAPES, Scene, random_scene

STEPS = 1200
BATCH = 64
_PEAK_RATE = 2e-3
_STATES = 4  # of each caption's states that know it all; all 77 are as good and cost more
_DROPOUT = 0.03

_ANSWERS: tuple[tuple[str | None, ...], ...] = (
    (None, "plain", "gradient", *SCENERY),  # background
    (None, *COLOURS),  # its upper colour
    (None, *COLOURS),  # its lower colour
    (None, *PLACES),
    (None, *RELATIONS),
    *((None, *SHAPES), (None, *COLOURS), (None, "small", "large"), (None, "1", "2", "3")) * 2,  # each thing
)


def make_answers(width: int) -> nn.Linear:
    """Reads a state of `width` numbers: one logit for every possible answer to every question."""
    return nn.Linear(width, sum(len(options) for options in _ANSWERS))


def batch(step: int, seed: int, tokenizer: CLIPTokenizer, scale: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch `step`: token ids int64 [b, 77] and the right answers, int64 [b, questions]."""
    rng = Random(f"text {seed} {step}")
    texts, answers = [], []
    for _ in range(scale * BATCH):
        if rng.random() < _DROPOUT:
            texts.append("")
            answers.append(_answers(Scene((), None)))
            continue
        text = data.caption(random_scene(rng), rng)
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
    drawn: tuple[torch.Tensor, torch.Tensor],
    noise: torch.Generator,
) -> torch.Tensor:
    """Mean cross entropy of the answers, read from the end token and from some of the padding behind it."""
    tokens, answers = (tensor.to(text_encoder.device) for tensor in drawn)
    states = text_encoder(tokens)[0]  # [b, 77, width]
    end = text_encoder.config.eos_token_id
    assert isinstance(end, int)
    ends = tokens.eq(end).int().argmax(1)  # [b]
    behind = torch.rand(len(tokens), _STATES, generator=noise).to(ends.device)
    behind[:, 0] = 0
    chosen = ends[:, None] + (behind * (tokens.shape[1] - ends[:, None])).long()  # [b, _STATES]
    logits = reader(states.gather(1, chosen[..., None].expand(-1, -1, states.shape[-1])))
    losses = [
        F.cross_entropy(part.flatten(0, 1), answers[:, question].repeat_interleave(_STATES))
        for question, part in enumerate(logits.split([len(options) for options in _ANSWERS], dim=-1))
    ]
    return torch.stack(losses).mean()


def _answers(scene: Scene) -> list[int]:
    background = scene.background
    colours = background.colours if background else ()
    given: list[str | None] = [
        background.kind if background else None,
        colours[0] if colours else None,
        colours[-1] if colours else None,
        scene.place,
        scene.relation,
    ]
    for index in range(2):
        thing = scene.things[index] if index < len(scene.things) else None
        given += [thing.shape, thing.colour, thing.size, str(thing.count)] if thing else [None] * 4
    return [options.index(answer) for options, answer in zip(_ANSWERS, given, strict=True)]
