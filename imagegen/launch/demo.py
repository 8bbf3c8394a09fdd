"""`imagegen demo`: a real Triton server makes images of every task that its model does, and shows where the time went.

From text, with LoRA adapters, from an image URL, by inpainting, and from a reference; what the model does not do is
named.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from rich import box
from rich.console import Console
from rich.table import Table

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.image_host import image_host
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from imagegen_client import (
    EDITING,
    IMAGE_TO_IMAGE,
    INPAINTING,
    TASKS,
    TEXT_TO_IMAGE,
    GenerateResult,
    ImageClient,
    ImageGenerationError,
    ModelDescription,
)

_STAGES = ("preprocess", "queue", "encode", "denoise", "decode", "postprocess")
_BORDER = 6  # of an image's side, the part at each end that inpainting keeps
_PROMPT = "a large red heart in the center on a blue background"
_BUNDLED = {"num_inference_steps": 20, "guidance_scale": 5.0}  # what suits the bundled checkpoint


def main(argv: list[str]) -> int:
    """Make images through a Triton server that ends with the command.

    Args:
        argv: the options; `--help` lists them.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="imagegen demo", description="Make images through a Triton server.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the images; default: out")
    parser.add_argument("--model", help="folder of a diffusers checkpoint, or hub id; default: the bundled one")
    given = parser.parse_args(argv)
    folder: Path = given.out
    console = Console()
    # The demo's image host is on loopback, which the server does not fetch from unless told so.
    parameters = {"image_preprocess.allow_private_addresses": "true"}
    if given.model:
        parameters |= other_checkpoint(given.model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            with console.status("Starting the Triton server …"):
                server = stack.enter_context(EmbeddedServer(MODEL_REPOSITORY, parameters=parameters))
            client = stack.enter_context(ImageClient(server.grpc_url))
            console.print(f"Triton server ready: http://{server.http_url}, gRPC {server.grpc_url}")
            results = _generate(client, folder, console, {} if given.model else _BUNDLED)
    except (ServerError, ImageGenerationError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(_table(results))
    return 0


def _generate(
    client: ImageClient, folder: Path, console: Console, settings: Mapping[str, Any]
) -> dict[str, GenerateResult]:
    """Text to image, then the first image again with another colour, and with another thing in its middle.

    A model that does not begin with text gets a picture that we have made.
    """
    model = client.describe()
    console.print(f"The model {model.model} does {', '.join(model.tasks)}", soft_wrap=True)
    for task in TASKS:
        if task not in model.tasks:
            console.print(f"{task:15} not shown: the model does not do it")
    results: dict[str, GenerateResult] = {}

    def generate(task: str, **arguments: Any) -> bytes:
        takes = model.tasks[task]
        optional = ("strength", "guidance_scale")
        taken = {n: v for n, v in (arguments | dict(settings)).items() if n in takes or n not in optional}
        with console.status(f"Generating: {task} …"):
            result = client.generate(**taken, seed=7)
        for number, image in enumerate(result.images, start=1):
            path = folder / (f"{task}.png" if len(result.images) == 1 else f"{task}-{number}.png")
            path.write_bytes(image)
            console.print(f"{task:15} {path}", soft_wrap=True)
        results[task] = result
        return result.images[0]

    if TEXT_TO_IMAGE in model.tasks:
        first = generate(TEXT_TO_IMAGE, prompt=_PROMPT, n=2)
        _generate_with_adapters(client, model.loras, folder, console, settings)
    else:
        first = _disc(model)
    if IMAGE_TO_IMAGE in model.tasks:
        with tempfile.TemporaryDirectory() as hosted, image_host(Path(hosted)) as address:
            (Path(hosted) / "first.png").write_bytes(first)
            generate(
                IMAGE_TO_IMAGE,
                prompt="a large white heart in the center on a blue background",
                image=f"{address}/first.png",
                strength=0.75,
            )
    if INPAINTING in model.tasks:
        generate(
            INPAINTING,
            prompt="a large yellow star in the center on a blue background",
            image=base64.b64encode(first).decode(),
            mask=base64.b64encode(_middle(Image.open(io.BytesIO(first)).size)).decode(),
            strength=1.0,
        )
    if EDITING in model.tasks:
        reference = _large_enough(first, model.least_reference_px)
        generate(EDITING, prompt="the same picture on a green background", reference_image=reference)
    return results


def _generate_with_adapters(
    client: ImageClient, loras: Sequence[str], folder: Path, console: Console, settings: Mapping[str, Any]
) -> None:
    """The first image again with each of the first two adapters that the server offers, and with both, all at once."""
    stacks = [[lora] for lora in loras[:2]] + [list(loras[:2])] * (len(loras) > 1)
    if not stacks:
        return

    def generate(stack: Sequence[str]) -> GenerateResult:
        return client.generate(_PROMPT, lora=stack, seed=7, **settings)

    with console.status("Generating: LoRA adapters …"), ThreadPoolExecutor(len(stacks)) as threads:
        for stack, result in zip(stacks, threads.map(generate, stacks), strict=True):
            path = folder / f"lora-{'-'.join(stack)}.png"
            path.write_bytes(result.images[0])
            rows = result.metadata["mean_batch_rows"]
            console.print(f"{'LoRA':15} {path}, in forwards of {rows:g} rows, shared with the others", soft_wrap=True)


def _table(results: dict[str, GenerateResult]) -> Table:
    table = Table(title="milliseconds by stage", box=box.SIMPLE_HEAD)
    table.add_column("stage")
    spent = [result.metadata["milliseconds"] for result in results.values()]
    for name in results:
        table.add_column(name, justify="right")
    for stage in _STAGES:
        table.add_row(stage, *(f"{task[stage]:.1f}" for task in spent))
    table.add_section()
    table.add_row("total", *(f"{sum(task[stage] for stage in _STAGES):.1f}" for task in spent))
    return table


def _middle(size: tuple[int, int]) -> bytes:
    """A mask of this (width, height) that is white, to be repainted, except for a border."""
    width, height = size
    mask = Image.new("L", size, 0)
    corners = (width // _BORDER, height // _BORDER, width - width // _BORDER, height - height // _BORDER)
    ImageDraw.Draw(mask).rectangle(corners, fill=255)
    return _png(mask)


def _disc(model: ModelDescription) -> bytes:
    """A red disc on blue, of the size from which the model makes an image of its native size."""
    width, height = (int(side) // model.upscaling for side in model.native_size.split("x"))
    image = Image.new("RGB", (width, height), (40, 70, 200))
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=(210, 30, 40))
    return _png(image)


def _large_enough(image: bytes, least_px: int) -> bytes:
    """The image, or where a side is shorter than `least_px`, a larger one of it."""
    picture = Image.open(io.BytesIO(image))
    factor = -(-least_px // min(picture.size))
    return image if factor <= 1 else _png(picture.resize((picture.width * factor, picture.height * factor)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
