"""`python -m perf.png`: how long do PNG encoders take, and how large are their files?

All encoders take turns on the same images in one run. Ends by itself; the exit status is 1 when a file does not hold
the pixels it was made of.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import zlib
from collections.abc import Callable, Sequence

import imageio.v3 as imageio
import numpy as np
from PIL import Image
from rich.console import Console

from imagegen.launch.model_repository import MODEL_REPOSITORY
from perf.arguments import measuring_parser
from perf.png_images import IMAGES, Pixels, photo_like
from perf.png_plot import draw_plot
from perf.png_report import DEFAULT, Sample, png_report
from perf.progress import quiet_progress
from perf.report import write_results
from perf.surroundings import results_folder, surroundings

sys.path.append(str(MODEL_REPOSITORY / "image_postprocess" / "1"))  # where Triton finds it too
from imagegen.images.output.encode import encode
from imagegen.images.output.encoding_pool import EncodingPool
from imagegen.images.output.settings import PostprocessSettings

_PACKAGES = ("pillow", "imageio", "isal", "numpy")
_SIZES = ((512, 512), (1280, 720), (1024, 1024))
_QUICK_SIZES = ((1280, 720),)
_COUNTS = (1, 4)
_COUNTED_SIDE_PX = 1024


def _pillow(**options: int) -> Callable[[Pixels], bytes]:
    def write(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", **options)
        return buffer.getvalue()

    return write


def _imageio(pixels: Pixels) -> bytes:
    return bytes(imageio.imwrite("<bytes>", pixels, extension=".png"))


def _default(pixels: Pixels) -> bytes:
    return encode(pixels, "png", None)


ENCODERS: dict[str, Callable[[Pixels], bytes]] = {
    "imageio default": _imageio,
    "Pillow default": _pillow(),
    "Pillow level 1": _pillow(compress_level=1),
    "Pillow level 0": _pillow(compress_level=0),
    "Pillow Z_RLE": _pillow(compress_level=1, compress_type=zlib.Z_RLE),
    DEFAULT: _default,
}


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    console = Console(stderr=True)
    about = surroundings(None, _PACKAGES)
    try:
        samples = _measure(_QUICK_SIZES if arguments.quick else _SIZES, arguments.rounds, console)
        counted_s = _measure_counts(arguments.rounds * 5)
    except KeyboardInterrupt:
        return 130
    except ValueError as error:
        print(f"png: {error}", file=sys.stderr)
        return 1
    markdown, raw = png_report(about, {"rounds": arguments.rounds}, samples, counted_s)
    print(markdown)
    folder = arguments.out or results_folder(about)
    written = [*write_results(folder, "png", markdown, raw), draw_plot(samples, folder / "png_plot.png")]
    for path in written:
        print(f"written: {path}", file=sys.stderr)
    return 0


def _measure(sizes: Sequence[tuple[int, int]], rounds: int, console: Console) -> list[Sample]:
    """Every encoder on every image, in turns.

    Raises:
        ValueError: a file does not hold the pixels it was made of.
    """
    images = {(name, size): make(*size) for size in sizes for name, make in IMAGES.items()}
    names = list(ENCODERS)
    samples = []
    with quiet_progress(console) as progress:
        bar = progress.add_task("in turns", total=len(images) * rounds)
        for number in range(rounds):
            for (image, (width, height)), pixels in images.items():
                # Whoever comes first finds colder caches: it is each one's turn.
                for encoder in names[number % len(names) :] + names[: number % len(names)]:
                    started_s = time.perf_counter()
                    data = ENCODERS[encoder](pixels)
                    seconds = time.perf_counter() - started_s
                    if number == 0:
                        _check(data, pixels, f"{encoder}, {image}, {width}x{height}")
                    samples.append(Sample(encoder, image, f"{width}x{height}", seconds * 1000, len(data)))
                progress.update(bar, advance=1, refresh=True)
    return samples


def _check(data: bytes, pixels: Pixels, what: str) -> None:
    if not np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels):
        raise ValueError(f"{what}: the file does not hold the pixels it was made of")


def _measure_counts(rounds: int) -> dict[int, list[float]]:
    """Seconds to encode n images as a request's, by n."""
    pool = EncodingPool(PostprocessSettings().helper_threads)
    frames = [np.roll(photo_like(_COUNTED_SIDE_PX, _COUNTED_SIDE_PX), shift, axis=0) for shift in range(max(_COUNTS))]
    seconds: dict[int, list[float]] = {count: [] for count in _COUNTS}
    for number in range(rounds + 1):
        for count in _COUNTS:
            started_s = time.perf_counter()
            pool.map(_default, frames[:count])
            if number:  # the first one starts the threads
                seconds[count].append(time.perf_counter() - started_s)
    pool.close()
    return seconds


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.png", __doc__, "one round at 1280x720, to try it out")
    parser.add_argument("--rounds", type=int, default=7, help="times that everything is encoded; default 7")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds: 1 or more")
    if arguments.quick:
        arguments.rounds = 1
    return arguments


if __name__ == "__main__":
    sys.exit(main())
