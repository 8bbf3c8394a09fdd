"""`imagegen generate`: sends a request, shows its progress and writes the images to files.

Exit status: 0 done, 2 wrong usage or an argument the server refuses, 130 interrupted, 1 anything else.
Paths (or URLs) and seeds go to standard output; progress, timings and errors to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import gevent
from rich import box
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from imagegen_client.arguments import GenerateArguments
from imagegen_client.cli import OneLineParser
from imagegen_client.condition_options import add_condition_options
from imagegen_client.errors import ImageGenerationError, InvalidArgument
from imagegen_client.files import slug, write_image
from imagegen_client.option_values import image, name_and_scale
from imagegen_client.over_grpc import ImageClient
from imagegen_client.over_http import HttpImageClient
from imagegen_client.results import GenerateResult
from imagegen_client.streaming import Progress

_CLIENTS: dict[str, type[ImageClient] | type[HttpImageClient]] = {"grpc": ImageClient, "http": HttpImageClient}
_PORTS = {"grpc": 8001, "http": 8000}  # Triton's defaults
_MAX_PREVIEWS = 3
_SUMMARY = ("model", "task", "size", "num_inference_steps", "guidance_scale", "scheduler")


def main(argv: list[str]) -> int:
    """Generate images and write them to files."""
    options = build_parser().parse_args(argv)
    try:
        _generate(options)
    except InvalidArgument as error:
        return _failed(error, 2)
    except (ImageGenerationError, OSError) as error:
        return _failed(error, 1)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The options: every field of `GenerateArguments`, and where to send and to put things."""
    generate = OneLineParser(prog="imagegen generate", description="Generate images and write them to files.")

    add = generate.add_argument_group("image").add_argument
    add("prompt", help="what the images show")
    add("--negative-prompt", metavar="TEXT", help="what to stay away from")
    add("--image", type=image, action="append", metavar="IN", help="file, http(s) or data URL, or -; repeatable")
    add("--mask", type=image, metavar="IN", help="what to repaint: transparent or white parts; needs --image")
    add("-n", "--n", type=int, metavar="COUNT", help="number of images")
    add("--size", metavar="WxH", help='in pixels, or "auto"')
    add("--num-inference-steps", "--steps", type=int, metavar="STEPS", help="denoising steps")
    add("--guidance-scale", type=float, metavar="SCALE", help="how closely to follow the prompt")
    add("--strength", type=float, metavar="FRACTION", help="how far to move away from --image, up to 1")
    add("--scheduler", metavar="NAME", help="sampler, such as euler or dpmpp_2m")
    add(
        "--step-cache",
        metavar="HOW",
        help="off, fine, balanced or fast: steps that take a forecast instead of running the model",
    )
    add(
        "--lora",
        type=name_and_scale,
        action=_AddLora,
        metavar="NAME[:SCALE]",
        help="adapter that the server offers; repeatable",
    )
    generate.set_defaults(lora_scale=None)
    add("--seed", type=int, action="append", help="one, or one per image; repeatable")
    add("--output-format", choices=("png", "jpeg", "jpg", "webp"), help="png unless given")
    add("--output-compression", type=int, metavar="0..100", help="effort for png, quality for jpeg and webp")

    add_condition_options(generate)

    add = generate.add_argument_group("request").add_argument
    add("--url", metavar="HOST:PORT", help="the server; localhost unless given")
    add("--protocol", choices=tuple(_CLIENTS), default="grpc")
    add("--response-format", choices=("bytes", "b64_json", "url"), help="url: the server stores the image")
    add("--timeout-ms", type=int, metavar="MS", help="deadline on the server")
    add("--timeout-s", type=float, metavar="S", default=600.0, help="how long to wait for the response (%(default)s)")
    add("--priority", type=int, default=0, help="1 is the most urgent; no progress is shown then")
    add("--request-id", metavar="ID", default="", help="name by which the request can be cancelled")
    add("--user", metavar="ID", help="opaque id for storage paths and logs")

    add = generate.add_argument_group("output").add_argument
    add("--out", type=Path, default=Path(), metavar="DIR", help="folder for the images; made if missing")
    add("--overwrite", action="store_true", help="replace files of the same name instead of choosing a free one")
    add("--preview", action="store_true", help="also write previews of the images while they form")
    add("--json", action="store_true", help="print one JSON object")
    return generate


class _AddLora(argparse.Action):
    """Appends to the two arguments that a value of `--lora` is for."""

    def __call__(self, _: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        name, scale = values
        namespace.lora = [*(namespace.lora or ()), name]
        namespace.lora_scale = [*(namespace.lora_scale or ()), scale]


def _generate(options: argparse.Namespace) -> None:
    arguments = {field.name: getattr(options, field.name) for field in fields(GenerateArguments)}
    streams = options.protocol == "grpc" and not options.priority  # a stream has no priority
    if options.preview and not streams:
        raise InvalidArgument("needs --protocol grpc and no --priority", "preview")
    if options.response_format != "url" or options.preview:
        options.out.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    if options.protocol == "http":
        # gevent, below tritonclient's HTTP, would print Ctrl-C to standard error besides raising it.
        hub = gevent.get_hub()
        hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    url = options.url or f"localhost:{_PORTS[options.protocol]}"
    with _CLIENTS[options.protocol](url) as client, _progress() as show:
        if isinstance(client, ImageClient) and streams:
            result = _stream(client, arguments, options, show)
        else:
            result = client.generate(**arguments)
    locations = list(result.urls) or _write(result, options)
    controls = list(result.used_control_urls) or _write_controls(result, options)
    if options.json:
        images = [
            {"url" if result.urls else "path": location, "seed": seed}
            for location, seed in zip(locations, result.seeds, strict=True)
        ]
        used = [{"url" if result.used_control_urls else "path": location} for location in controls]
        printed = {"images": images, **({"used_control_images": used} if used else {}), "metadata": result.metadata}
        print(json.dumps(printed, ensure_ascii=False))
        return
    for location, seed in zip(locations, result.seeds, strict=True):
        print(f"{location}  seed {seed}")
    for location in controls:
        print(f"{location}  control")
    _print_metadata(result.metadata)


def _stream(
    client: ImageClient, arguments: dict[str, Any], options: argparse.Namespace, show: Callable[[Progress], None]
) -> GenerateResult:
    """Generate the images, and meanwhile show the progress and write previews. Leaving it early cancels them."""
    previews = _MAX_PREVIEWS if options.preview else 0
    with closing(client.stream(**arguments, partial_images=previews)) as events:
        for event in events:
            if isinstance(event, GenerateResult):
                return event
            if isinstance(event, Progress):
                show(event)
            else:
                stem = f"{slug(options.prompt)}-{event.image_index}-preview{event.preview_index}"
                write_image(options.out, stem, options.output_format or "png", event.image, overwrite=options.overwrite)
    raise AssertionError("a stream ends with its result or an error")


def _write(result: GenerateResult, options: argparse.Namespace) -> list[str]:
    """Write every image as `DIR/<prompt>-seed<seed>-<i>.<format>`; the paths."""
    paths = []
    for index, (content, seed) in enumerate(zip(result.images, result.seeds, strict=True)):
        stem = f"{slug(options.prompt)}-seed{seed}-{index}"
        extension = options.output_format or "png"
        paths.append(str(write_image(options.out, stem, extension, content, overwrite=options.overwrite)))
    return paths


def _write_controls(result: GenerateResult, options: argparse.Namespace) -> list[str]:
    """Write every used control image as `DIR/<prompt>-seed<first seed>-control-<i>.<format>`; the paths."""
    stem, extension = f"{slug(options.prompt)}-seed{result.seeds[0]}-control", options.output_format or "png"
    return [
        str(write_image(options.out, f"{stem}-{index}", extension, content, overwrite=options.overwrite))
        for index, content in enumerate(result.used_control_images)
    ]


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar with percent and elapsed time while the server works; nothing unless standard error is a terminal.

    Yields:
        a function that moves the bar; until its first call the bar only pulses.
    """
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    columns = (SpinnerColumn(), TextColumn("generating"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("generating", total=None)

        def show(progress: Progress) -> None:
            if progress.total_steps:
                bar.update(task, completed=progress.step, total=progress.total_steps)

        yield show


def _print_metadata(metadata: dict[str, Any]) -> None:
    """Print the warnings, the parameters and a table of the time by stage."""
    console = Console(stderr=True, highlight=False, markup=False)
    for warning in metadata.get("warnings") or ():
        console.print(f"warning: {warning}", soft_wrap=True)
    summary = [f"{name} {metadata[name]}" for name in _SUMMARY if metadata.get(name) is not None]
    summary += [f"lora {lora['name']}:{lora['scale']:g}" for lora in metadata.get("loras") or ()]
    if summary:
        console.print(", ".join(summary), soft_wrap=True)
    table = Table("stage", box=box.SIMPLE)
    table.add_column("ms", justify="right")
    for stage, milliseconds in (metadata.get("milliseconds") or {}).items():
        table.add_row(str(stage), f"{milliseconds:.1f}")
    if table.rows:
        console.print(table)


def _failed(reason: object, status: int) -> int:
    print("imagegen: " + " ".join(str(reason).split()), file=sys.stderr)
    return status
