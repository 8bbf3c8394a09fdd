"""OpenAI's own client against this server: `pip install openai`, then `python openai_client.py [URL]`.

Writes drawn.png, preview-0.png, preview-1.png, streamed.png, repainted.png.
"""

import base64
import struct
import sys
import zlib
from pathlib import Path

from openai import OpenAI, OpenAIError

SIDE_PX = 128
OURS = {"num_inference_steps": 20, "seed": 7}  # what OpenAI's API has no name for goes into extra_body


def hole(side_px: int) -> bytes:
    """A grey PNG with alpha that is transparent in the middle, where the image is to be repainted."""
    inside = range(side_px // 4, side_px * 3 // 4)
    rows = [
        bytes([0] + [part for x in range(side_px) for part in (0, 255 * (x not in inside or y not in inside))])
        for y in range(side_px)
    ]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 4, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"".join(rows))), chunk(b"IEND", b"")]
    )


def main() -> None:
    """Draw an image, watch another one form, and repaint the middle of the first."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:9000/v1"
    with OpenAI(base_url=url, api_key="none") as client:
        drawn = client.images.generate(prompt="a red circle", size="128x128", extra_body=OURS)
        save("drawn.png", drawn.data[0].b64_json)

        stream = client.images.generate(prompt="a red circle", stream=True, partial_images=2, extra_body=OURS)
        for event in stream:
            if event.type == "image_generation.partial_image":
                save(f"preview-{event.partial_image_index}.png", event.b64_json)
            elif event.type == "image_generation.completed":
                save("streamed.png", event.b64_json)

        repainted = client.images.edit(
            image=Path("drawn.png"), mask=("mask.png", hole(SIDE_PX)), prompt="a green square", extra_body=OURS
        )
        save("repainted.png", repainted.data[0].b64_json)
        print("seed", repainted.data[0].seed, "tokens", repainted.usage.total_tokens)


def save(name: str, base64_text: str) -> None:
    """Write an image."""
    Path(name).write_bytes(base64.b64decode(base64_text))
    print(name)


if __name__ == "__main__":
    try:
        main()
    except OpenAIError as error:
        sys.exit(str(error))
