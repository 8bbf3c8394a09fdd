"""The part `image_inputs`: what does image_preprocess cost a request, by what comes as `image`?"""

from __future__ import annotations

import base64
import io
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton_grpc
from PIL import Image

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from perf.environment import triton_version
from perf.report import Section, Target, table
from perf.turns import Turn, take_turns

TEXT_TO_IMAGE, BASE64_JPEG, PING = "text-to-image", "base64 JPEG", "a gRPC call that does nothing"
TARGETS_MS = {TEXT_TO_IMAGE: 1.0, BASE64_JPEG: 15.0}

_MODEL = "image_preprocess"
_WARMUP_ROUNDS = 20


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        requests: of each kind.
        side_px: width and height of the images.
    """

    requests: int = 300
    side_px: int = 1024


QUICK = Settings(requests=20)


def measure(settings: Settings, _: Path) -> Section:
    """Ask a server with `image_preprocess` alone; needs no checkpoint."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-perf-")))
        (folder / _MODEL).symlink_to(MODEL_REPOSITORY / _MODEL)
        server = stack.enter_context(EmbeddedServer(folder))
        client = stack.enter_context(triton_grpc.InferenceServerClient(server.grpc_url))
        files = {name: _image(settings.side_px, name) for name in ("JPEG", "PNG", "WEBP")}
        kinds = {BASE64_JPEG: base64.b64encode(files["JPEG"]), **files}
        ways: dict[str, Callable[[int], float]] = {
            PING: lambda _: float(client.is_server_live()),
            TEXT_TO_IMAGE: partial(_step_ms, client, None),
        }
        ways |= {kind: partial(_step_ms, client, image) for kind, image in kinds.items()}
        times = take_turns("one at a time", ways, settings.requests, _WARMUP_ROUNDS)
        return section(settings, times, triton_version(server.http_url))


def _image(side_px: int, format_name: str) -> bytes:
    """A file with shapes and some noise, about as large as that of a photograph."""
    rows, columns = np.mgrid[0:side_px, 0:side_px] / side_px
    waves = [np.sin(9 * rows + phase) * np.cos(7 * columns * (phase + 1)) for phase in range(3)]
    noise = np.random.default_rng(0).normal(0, 4, (side_px, side_px, 3))
    pixels = np.clip(np.stack(waves, axis=2) * 100 + 128 + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_name, quality=90)
    return file.getvalue()


def _step_ms(client: triton_grpc.InferenceServerClient, image: bytes | None, _: int) -> float:
    """Send one request; the step's own milliseconds.

    The client asks for the step's report and not for its pixels, which in the ensemble do not leave the server either.
    """
    inputs = []
    for name, value in (("prompt", b"a red circle"), ("image", image)):
        if value is not None:
            tensor = triton_grpc.InferInput(name, [1], "BYTES")
            tensor.set_data_from_numpy(np.array([value], dtype=np.object_))
            inputs.append(tensor)
    result = client.infer(_MODEL, inputs, outputs=[triton_grpc.InferRequestedOutput("preprocess_report")])
    return float(json.loads(result.as_numpy("preprocess_report")[0])["milliseconds"]["preprocess"])


def section(
    settings: Settings,
    times: Mapping[str, Sequence[Turn[float]]],
    versions: Mapping[str, str],
) -> Section:
    """What the report says about it; `times` has the client's milliseconds and the step's by kind of request."""
    medians_ms = {kind: statistics.median(turn.ms for turn in turns) for kind, turns in times.items()}
    rows = [
        (
            kind,
            medians_ms[kind],
            float(np.percentile([turn.ms for turn in turns], 95)),
            "" if kind == PING else statistics.median(turn.result for turn in turns),
        )
        for kind, turns in times.items()
    ]
    targets = [
        Target(
            f"image_preprocess, {kind}: under {limit_ms:g} ms",
            f"{medians_ms[kind]:.2f} ms",
            medians_ms[kind] < limit_ms,
        )
        for kind, limit_ms in TARGETS_MS.items()
    ]
    return Section(
        title="image_preprocess: time",
        settings=settings,
        paragraphs=[
            "The client talks gRPC to `image_preprocess` alone, one request at a time, all kinds in turns. Its time "
            "holds everything the step costs a request, and the call itself.",
            table(("request", "client ms, median", "client ms, p95", "in the step ms, median"), rows),
        ],
        raw={"client_ms": {kind: [turn.ms for turn in turns] for kind, turns in times.items()}},
        targets=targets,
        versions=versions,
    )
