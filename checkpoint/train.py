"""Trains the checkpoint from nothing: `python -m checkpoint.train FOLDER`.

Four stages (train_vae, train_text, train_denoiser, train_decoder), then the pipeline is written to FOLDER/checkpoint.
State is kept in FOLDER every few minutes; the same command goes on from there. What a step sees depends on the seed and
the step alone. On a GPU batches are larger, steps fewer, and forwards in bfloat16.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import CLIPTokenizer

from checkpoint import attention, evaluate, networks, sheet, train_decoder, train_denoiser, train_text, train_vae

SEED = 0
_SAVE_EVERY_S = 180
_EMA_DECAY = 0.999
_LOG_EVERY = 50
_GPU_SCALE = 8  # how much larger batches are there
# At the UNet's rate the text encoder soon keeps only the words that help at once, colours and backgrounds, and places
# are lost in it before the UNet has learned to use them.
_RATE_SHARES = {"text_encoder": 0.2}


class Steps(Dataset[Any]):
    """Item `k` is the batch of step `k`."""

    def __init__(self, batch: Callable[[int], Any], steps: int) -> None:
        self._batch = batch
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Any:
        return self._batch(step)


class Stage:
    """One training loop: its networks, optimizer, averaged weights and progress, kept in one file."""

    def __init__(self, name: str, folder: Path, networks: nn.ModuleDict, steps: int, stop_at: float) -> None:
        self.networks = networks
        self._device = next(networks.parameters()).device
        on_gpu = self._device.type == "cuda"
        self.scale = _GPU_SCALE if on_gpu else 1
        self._bfloat16 = on_gpu
        self.noise = torch.Generator().manual_seed(SEED)
        groups = [
            {"params": list(network.parameters()), "share": _RATE_SHARES.get(name, 1.0)}
            for name, network in networks.items()
        ]
        self._optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
        self._average = torch.optim.swa_utils.AveragedModel(networks, avg_fn=_ema)
        self._file = folder / f"{name}.pt"
        self._log = folder / f"{name}_loss.csv"
        self._name, self._steps, self._stop_at = name, steps // self.scale, stop_at
        self._step, self._loss, self._curve = 0, 0.0, list[tuple[int, float, float]]()
        self._seconds = 0.0
        if self._file.exists():
            self._restore()

    def run(
        self, batch: Callable[[int], Any], loss: Callable[[Any], torch.Tensor], rate: Callable[[int], float]
    ) -> bool:
        """Train to the end, or until the time is up; returns whether the end is reached."""
        on_gpu = self._device.type == "cuda"
        workers = os.cpu_count() or 1 if on_gpu else 0  # a GPU is faster than one process paints
        left = range(self._step, self._steps)
        batches = DataLoader(Steps(batch, self._steps), batch_size=None, sampler=left, num_workers=workers)
        bar = tqdm(batches, total=self._steps, initial=self._step, desc=self._name, unit="step", mininterval=5)
        saved = started = time.monotonic() - self._seconds
        for inputs in bar:
            if time.monotonic() > self._stop_at:
                break
            for group in self._optimizer.param_groups:
                group["lr"] = group["share"] * rate(self._step * self.scale)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
                value = loss(inputs)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._average.update_parameters(self.networks)
            self._loss = 0.98 * self._loss + 0.02 * value.item() if self._step else value.item()
            self._seconds = time.monotonic() - started
            if self._step % _LOG_EVERY == 0:
                self._curve.append((self._step, self._loss, self._seconds))
                bar.set_postfix(loss=f"{self._loss:.4f}", refresh=False)
            self._step += 1
            if time.monotonic() - saved > _SAVE_EVERY_S:
                self._save()
                saved = time.monotonic()
        self._save()
        return self._step >= self._steps

    def averaged(self) -> nn.ModuleDict:
        """The networks with averaged weights."""
        average = self._average.module
        assert isinstance(average, nn.ModuleDict)
        return average

    def _save(self) -> None:
        state = {
            "networks": self.networks.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "noise": self.noise.get_state(),
            "progress": (self._step, self._loss, self._curve, self._seconds),
        }
        torch.save(state, self._file.with_suffix(".tmp"))
        self._file.with_suffix(".tmp").rename(self._file)
        with self._log.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("step", "running_loss", "seconds"))
            writer.writerows((step, f"{value:.4f}", round(seconds)) for step, value, seconds in self._curve)

    def _restore(self) -> None:
        state = torch.load(self._file, map_location=self._device, weights_only=True)
        self.networks.load_state_dict(state["networks"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.noise.set_state(state["noise"].cpu())
        self._step, self._loss, self._curve, self._seconds = state["progress"]


def train(folder: Path, device: torch.device, minutes: float, compiled: bool = False) -> bool:
    """All stages; returns whether they are done and the pipeline is written."""
    folder.mkdir(parents=True, exist_ok=True)
    stop_at = time.monotonic() + 60 * minutes
    tokenizer = networks.make_tokenizer()

    torch.manual_seed(SEED)
    vae = networks.make_vae().to(device, memory_format=torch.channels_last)
    first = Stage("vae", folder, nn.ModuleDict({"vae": vae}), train_vae.STEPS, stop_at)
    if not first.run(
        lambda step: train_vae.batch(step, SEED, first.scale),
        lambda batch: train_vae.loss(vae, batch.to(device, memory_format=torch.channels_last), first.noise),
        train_vae.rate,
    ):
        return False
    print(f"VAE: {train_vae.finish(vae, SEED, device):.1f} dB at 128 pixels")
    vae.requires_grad_(False)

    torch.manual_seed(SEED)
    text_encoder = networks.make_text_encoder(tokenizer)
    reader = train_text.make_answers(text_encoder.config.hidden_size)
    parts = nn.ModuleDict({"text_encoder": text_encoder, "reader": reader}).to(device)
    second = Stage("text", folder, parts, train_text.STEPS, stop_at)
    if not second.run(
        lambda step: train_text.batch(step, SEED, tokenizer, second.scale),
        lambda batch: train_text.loss(text_encoder, reader, batch, second.noise),
        train_text.rate,
    ):
        return False

    torch.manual_seed(SEED)
    unet = networks.make_unet().to(device, memory_format=torch.channels_last)
    parts = nn.ModuleDict({"text_encoder": text_encoder, "unet": unet})
    third = Stage("denoiser", folder, parts, train_denoiser.STEPS, stop_at)
    watched = attention.watch(unet)
    # Compiled for the size most images have; each further one would take as long again to compile. On a CPU not in
    # bfloat16: compiled so, torch 2.13 gives the middle block next to no gradient.
    forwards = {networks.NATIVE_PX: torch.compile(unet, dynamic=False)} if compiled else {}
    done = third.run(
        lambda step: train_denoiser.batch(step, SEED, tokenizer, third.scale),
        lambda batch: train_denoiser.loss(unet, text_encoder, vae, batch, third.noise, watched, forwards),
        train_denoiser.rate,
    )
    if done:
        decoder = nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv}).requires_grad_(True)
        fourth = Stage("decoder", folder, decoder, train_decoder.STEPS, stop_at)
        done = fourth.run(
            lambda step: train_decoder.batch(step, SEED, fourth.scale),
            lambda batch: train_decoder.loss(vae, batch, fourth.noise),
            train_decoder.rate,
        )
        decoder.load_state_dict(fourth.averaged().state_dict())
    _write(folder / "checkpoint", vae, third.averaged(), tokenizer)
    if done:
        _report(folder / "checkpoint", device)
    return done


def _write(folder: Path, vae: AutoencoderKL, denoiser: nn.ModuleDict, tokenizer: CLIPTokenizer) -> None:
    """The pipeline in half precision, in diffusers' folder format."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=denoiser["text_encoder"],
        tokenizer=tokenizer,
        unet=denoiser["unet"],
        scheduler=networks.make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
        part.half()
    pipeline.save_pretrained(folder)
    networks.save_tokenizer(tokenizer, folder / "tokenizer")


def _report(folder: Path, device: torch.device) -> None:
    """A short check and a contact sheet, beside the weights."""
    pipeline = evaluate.load(folder, str(device))
    (folder / "scores.md").write_text(evaluate.report(pipeline, count=64, steps=(8, 20), guidances=(5.0,)))
    sheet.draw_sheet(pipeline).save(folder / "samples.png")


def _ema(average: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    """Exponential moving average that starts short, so that early weights are soon forgotten."""
    decay = min(_EMA_DECAY, (1 + int(count)) / (10 + int(count)))
    return average + (1 - decay) * (current - average)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long; go on another time")
    parser.add_argument("--compile", action="store_true", help="faster on a CPU; wants a C++ compiler")
    arguments = parser.parse_args()
    done = train(arguments.folder, torch.device(arguments.device), arguments.minutes, arguments.compile)
    print("done" if done else "stopped; the same command goes on", flush=True)


if __name__ == "__main__":
    main()
