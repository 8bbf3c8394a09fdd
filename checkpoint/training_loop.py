"""The loop that trains a network beside the checkpoint: AdamW, a rate that ramps up and falls, a log of the loss."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from checkpoint.rates import ramp_and_cosine

_LOG_EVERY = 50


def trained(
    network: torch.nn.Module, loss: Callable[[int], Tensor], *, steps: int, peak_rate: float, log: Path
) -> list[float]:
    """Train a network; returns the loss of each step.

    Args:
        network: its parameters are changed.
        loss: that of a step, by the step's number.
        steps: how many.
        peak_rate: the highest learning rate.
        log: a CSV file of the running loss, which is written.
    """
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    losses: list[float] = []
    began_s = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("step", "running_loss", "seconds"))
        for step in (bar := tqdm(range(steps), desc=log.stem, unit="step", mininterval=5)):
            optimizer.param_groups[0]["lr"] = ramp_and_cosine(peak_rate, step, steps)
            value = loss(step)
            value.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(value.item())
            mean = np.mean(losses[-_LOG_EVERY:])
            bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            if (step + 1) % _LOG_EVERY == 0:
                rows.writerow((step + 1, f"{mean:.4f}", round(time.monotonic() - began_s)))
                file.flush()
    return losses
