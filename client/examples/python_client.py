"""Text to image, image to image and inpainting: `pip install pillow`, then `python python_client.py [HOST:PORT]`.

Writes generated.png, varied.png, mask.png and repainted.png.
"""

import sys
from pathlib import Path

from PIL import Image

from imagegen_client import ImageClient, ImageGenerationError

SIDE_PX = 128


def main() -> None:
    """Generate an image, vary it, and repaint its middle."""
    server = sys.argv[1] if len(sys.argv) > 1 else "localhost:8001"

    mask = Image.new("L", (SIDE_PX, SIDE_PX), "black")  # what is black is kept, what is white is repainted
    mask.paste("white", (SIDE_PX // 4, SIDE_PX // 4, SIDE_PX * 3 // 4, SIDE_PX * 3 // 4))
    mask.save("mask.png")

    with ImageClient(server) as client:
        generated = client.generate("a red circle", size=f"{SIDE_PX}x{SIDE_PX}", seed=7)
        Path("generated.png").write_bytes(generated.images[0])

        varied = client.generate("a blue circle", image=Path("generated.png"), strength=0.6, seed=7)
        Path("varied.png").write_bytes(varied.images[0])

        repainted = client.generate("a green square", image=generated.images[0], mask=Path("mask.png"), seed=7)
        Path("repainted.png").write_bytes(repainted.images[0])

    for name, result in (("generated", generated), ("varied", varied), ("repainted", repainted)):
        print(f"{name}.png  seed {result.seeds[0]}  {result.metadata['task']}")


if __name__ == "__main__":
    try:
        main()
    except ImageGenerationError as error:
        sys.exit(str(error))
