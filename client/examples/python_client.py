"""Text to image, image to image and inpainting with imagegen_client: `python python_client.py [HOST:PORT]`.

Writes drawn.png, varied.png and repainted.png.
"""

import struct
import sys
import zlib
from pathlib import Path

from imagegen_client import ImageClient, ImageGenerationError

SIDE_PX = 128


def square_mask(side_px: int) -> bytes:
    """A grey PNG whose middle is white (to be repainted) and whose border is black (to be kept)."""
    inside = range(side_px // 4, side_px * 3 // 4)
    rows = [bytes([0, *(255 * (x in inside and y in inside) for x in range(side_px))]) for y in range(side_px)]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"".join(rows))), chunk(b"IEND", b"")]
    )


def main() -> None:
    """Draw an image, vary it, and repaint its middle."""
    server = sys.argv[1] if len(sys.argv) > 1 else "localhost:8001"
    with ImageClient(server) as client:
        drawn = client.generate("a red circle", size=f"{SIDE_PX}x{SIDE_PX}", seed=7)
        Path("drawn.png").write_bytes(drawn.images[0])

        varied = client.generate("a blue circle", image=Path("drawn.png"), strength=0.6, seed=7)
        Path("varied.png").write_bytes(varied.images[0])

        repainted = client.generate("a green square", image=drawn.images[0], mask=square_mask(SIDE_PX), seed=7)
        Path("repainted.png").write_bytes(repainted.images[0])

    for name, result in (("drawn", drawn), ("varied", varied), ("repainted", repainted)):
        print(f"{name}.png  seed {result.seeds[0]}  {result.metadata['task']}")


if __name__ == "__main__":
    try:
        main()
    except ImageGenerationError as error:
        sys.exit(str(error))
