"""OpenAI's own client against this server: `pip install openai pillow`, then `python openai_client.py [URL]`.

Writes generated.png, preview-0.png, preview-1.png, streamed.png, mask.png and repainted.png.
"""

import base64
import sys
from pathlib import Path

from openai import OpenAI, OpenAIError
from PIL import Image

SIDE_PX = 128
OURS = {"num_inference_steps": 20, "seed": 7}  # what OpenAI's API has no name for goes into extra_body


def main() -> None:
    """Generate an image, watch another one form, and repaint the middle of the first."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:9000/v1"

    mask = Image.new("RGBA", (SIDE_PX, SIDE_PX), "black")  # what is opaque is kept, what is transparent is repainted
    mask.paste((0, 0, 0, 0), (SIDE_PX // 4, SIDE_PX // 4, SIDE_PX * 3 // 4, SIDE_PX * 3 // 4))
    mask.save("mask.png")

    with OpenAI(base_url=url, api_key="none") as client:
        generated = client.images.generate(prompt="a red circle", size="128x128", extra_body=OURS)
        save("generated.png", generated.data[0].b64_json)

        stream = client.images.generate(prompt="a red circle", stream=True, partial_images=2, extra_body=OURS)
        for event in stream:
            if event.type == "image_generation.partial_image":
                save(f"preview-{event.partial_image_index}.png", event.b64_json)
            elif event.type == "image_generation.completed":
                save("streamed.png", event.b64_json)

        repainted = client.images.edit(
            image=Path("generated.png"), mask=Path("mask.png"), prompt="a green square", extra_body=OURS
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
