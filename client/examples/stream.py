"""An image with progress and previews while it forms: `python stream.py [HOST:PORT]`.

Writes preview-0.png, preview-1.png and circle.png. Leaving the loop early cancels the request.
"""

import sys
from contextlib import closing
from pathlib import Path

from imagegen_client import GenerateResult, ImageClient, ImageGenerationError, Preview


def main() -> None:
    """Stream one image."""
    server = sys.argv[1] if len(sys.argv) > 1 else "localhost:8001"
    with (
        ImageClient(server) as client,
        closing(client.stream("a red circle", size="128x128", seed=7, partial_images=2)) as events,
    ):
        for event in events:
            if isinstance(event, GenerateResult):
                Path("circle.png").write_bytes(event.images[0])
                print(f"circle.png  seed {event.seeds[0]}")
            elif isinstance(event, Preview):
                path = Path(f"preview-{event.preview_index}.png")
                path.write_bytes(event.image)
                print(f"{path}  after step {event.step}")
            else:
                print(f"step {event.step} of {event.total_steps}")


if __name__ == "__main__":
    try:
        main()
    except ImageGenerationError as error:
        sys.exit(str(error))
