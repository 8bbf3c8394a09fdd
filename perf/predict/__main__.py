"""`python -m perf.predict`: what an H100 and an H200 would need for a tick, from work that is counted, not measured.

Needs no GPU and no weights. A run of `python -m perf.gpu` is to be compared with it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from perf.environment import environment, results_folder
from perf.gpu.shapes import SHAPES
from perf.predict.prediction import DEVICES, Assumptions, predict
from perf.predict.tick import count_tick
from perf.report import environment_text, table

SIDES_PX = (512, 1024)
REQUESTS = (1, 8, 32)
_MEANINGS = {
    "flops_share": "of the peak, that matrix products and convolutions reach",
    "bandwidth_share": "of the memory's bandwidth, that kernels reach",
    "kernel_us": "microseconds of the shortest kernel",
    "launch_us": "microseconds of the host for a launch, Python included",
    "graph_us": "microseconds of the host for a forward as one CUDA graph",
    "request_us": "microseconds of the host's Python, by request and tick, beside its launches",
}
_COLUMNS = (
    *("device", "model", "size", "requests", "launches", "TFLOP", "GB", "device ms"),
    *("host ms", "idle %", "images/s", "host ms, graphs", "idle %, graphs", "images/s, graphs"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    given = vars(_parser().parse_args(argv))
    out: Path | None = given.pop("out")
    try:
        assumed = Assumptions(**given)
    except ValueError as error:
        print(f"perf.predict: {error}", file=sys.stderr)
        return 2
    about = environment("python -m perf.predict")
    found = list(predictions(assumed))
    folder = (out or results_folder(about)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    text = document(about, assumed, found)
    (folder / "predict.md").write_text(text)
    content = {"environment": about, "assumptions": asdict(assumed), "predictions": found}
    (folder / "predict.json").write_text(json.dumps(content, allow_nan=False) + "\n")
    print(text)
    for name in ("predict.md", "predict.json"):
        print(f"written: {os.path.relpath(folder / name)}", file=sys.stderr)
    return 0


def predictions(assumed: Assumptions) -> Iterator[dict[str, Any]]:
    """Each device, model, size and number of requests, eager and with CUDA graphs, as JSON values."""
    for name, shape in SHAPES.items():
        for side_px in SIDES_PX:
            for requests in REQUESTS:
                tick = count_tick(shape, requests, side_px)
                for device in DEVICES:
                    ways = {
                        way: predict(tick, shape.steps, device, assumed, graphs=way == "graphs")
                        for way in ("eager", "graphs")
                    }
                    yield {
                        "device": device.name,
                        "model": name,
                        "side_px": side_px,
                        "requests": requests,
                        "steps": shape.steps,
                        "ticks_per_step": tick.calls_per_step,
                        "launches": tick.launches,
                        "flops": tick.flops,
                        "bytes": tick.bytes,
                        **{way: {**asdict(one), "idle_share": one.idle_share} for way, one in ways.items()},
                    }


def document(about: dict[str, Any], assumed: Assumptions, found: Sequence[dict[str, Any]]) -> str:
    """Markdown: what was assumed, and what follows."""
    peaks = ", ".join(f"{one.name} {one.flops / 1e12:g} TFLOP/s and {one.bytes / 1e12:g} TB/s" for one in DEVICES)
    assumptions = [(_MEANINGS[name], f"{value:g}") for name, value in asdict(assumed).items()]
    paragraphs = [
        "# Predicted, not measured",
        environment_text(about, {}),
        "Nothing ran on a GPU. The kernels of a tick were counted on tensors without memory, in bfloat16: one merged "
        "forward of all requests' rows, what puts them together, and what each request's pipeline and its published "
        "scheduler compute beside it. A kernel takes the longest of its arithmetic, its bytes and the shortest time; "
        "those of a tick run one after the other, while the host launches the next. The slower of the two sets the "
        "pace. An image is its steps and one pass of the VAE, without text encoders. Attention is one kernel; a "
        "group norm, a convolution and a copy count as one each, though libraries may launch more. That all of it "
        "fits into the device's memory is assumed, and that nothing synchronises.",
        "## Assumptions",
        table(("assumed", "value"), [*assumptions, ("published peaks, bf16 dense and memory", peaks)]),
        "## A tick, and images of all requests together",
        table(_COLUMNS, [_row(one) for one in found]),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    eager, graphs = one["eager"], one["graphs"]
    return (
        one["device"],
        one["model"],
        f"{one['side_px']}x{one['side_px']}",
        one["requests"],
        f"{one['launches']:.0f}",
        f"{one['flops'] / 1e12:.3g}",
        f"{one['bytes'] / 1e9:.3g}",
        1000 * eager["device_s"],
        1000 * eager["host_s"],
        f"{100 * eager['idle_share']:.0f}",
        eager["images_per_s"],
        1000 * graphs["host_s"],
        f"{100 * graphs['idle_share']:.0f}",
        graphs["images_per_s"],
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m perf.predict", description="Predict ticks on an H100 and an H200 from counted work."
    )
    for field in fields(Assumptions):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=float,
            default=field.default,
            metavar="X",
            help=f"{_MEANINGS[field.name]}; default: {field.default:g}",
        )
    parser.add_argument("--out", type=Path, help="folder for the result; default: perf/results/<date>-<commit>")
    return parser


if __name__ == "__main__":
    sys.exit(main())
