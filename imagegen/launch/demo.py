"""`imagegen demo`: a real Triton server makes images from text, from an image URL, and by inpainting.

Ends by itself. Shows the paths of the images and where the time went.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
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
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import GenerateResult, ImageClient, ImageGenerationError

_STAGES = ("preprocess", "queue", "encode", "denoise", "decode", "postprocess")
_SIDE_PX = 128


def main(argv: list[str]) -> int:
    """Make images through a Triton server that ends with the command.

    Args:
        argv: the options; `--help` lists them.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="imagegen demo", description="Make images through a Triton server.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the images; default: out")
    folder: Path = parser.parse_args(argv).out
    console = Console()
    # The demo's image host is on loopback, which the server does not fetch from unless told so.
    parameters = {"image_preprocess.allow_private_addresses": "true"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            with console.status("Starting the Triton server …"):
                server = stack.enter_context(EmbeddedServer(MODEL_REPOSITORY, parameters=parameters))
            client = stack.enter_context(ImageClient(server.grpc_url))
            console.print(f"Triton server ready: http://{server.http_url}, gRPC {server.grpc_url}")
            results = _generate(client, folder, console)
    except (ServerError, ImageGenerationError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(_table(results))
    return 0


def _generate(client: ImageClient, folder: Path, console: Console) -> dict[str, GenerateResult]:
    """Text to image, then the first image again with another colour, and with another thing in its middle."""
    results: dict[str, GenerateResult] = {}

    def generate(name: str, **arguments: Any) -> bytes:
        with console.status(f"Generating: {name} …"):
            result = client.generate(**arguments, seed=7, num_inference_steps=20, guidance_scale=5.0)
        for number, image in enumerate(result.images, start=1):
            path = folder / (f"{name}.png" if len(result.images) == 1 else f"{name}-{number}.png")
            path.write_bytes(image)
            console.print(f"{name:15} {path}", soft_wrap=True)
        results[name] = result
        return result.images[0]

    first = generate("text-to-image", prompt="a large red heart in the center on a blue background", n=2)
    with tempfile.TemporaryDirectory() as hosted, image_host(Path(hosted)) as address:
        (Path(hosted) / "first.png").write_bytes(first)
        generate(
            "image-to-image",
            prompt="a large white heart in the center on a blue background",
            image=f"{address}/first.png",
            strength=0.75,
        )
    generate(
        "inpainting",
        prompt="a large yellow star in the center on a blue background",
        image=base64.b64encode(first).decode(),
        mask=base64.b64encode(_middle()).decode(),
        strength=1.0,
    )
    return results


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


def _middle() -> bytes:
    """A mask that is white, to be repainted, except for a border."""
    mask = Image.new("L", (_SIDE_PX, _SIDE_PX), 0)
    ImageDraw.Draw(mask).rectangle((20, 20, _SIDE_PX - 20, _SIDE_PX - 20), fill=255)
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
