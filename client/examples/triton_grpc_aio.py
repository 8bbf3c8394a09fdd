"""Several requests at once with asyncio and plain tritonclient: `python triton_grpc_aio.py [HOST:PORT]`.

The server shares its denoising steps among them. Writes circle-7.png, circle-8.png and circle-9.png.
"""

import asyncio
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc.aio as triton


async def generate(client: triton.InferenceServerClient, seed: int) -> Path:
    """Send one request and write its image."""
    prompt = triton.InferInput("prompt", [1], "BYTES")
    prompt.set_data_from_numpy(np.array([b"a red circle"], dtype=np.object_))
    seeds = triton.InferInput("seed", [1], "INT64")
    seeds.set_data_from_numpy(np.array([seed], dtype=np.int64))
    result = await client.infer("image_generation", [prompt, seeds], client_timeout=600.0)
    path = Path(f"circle-{seed}.png")
    path.write_bytes(result.as_numpy("generated_image")[0])
    return path


async def main() -> None:
    """Generate three circles together."""
    server = sys.argv[1] if len(sys.argv) > 1 else "localhost:8001"
    async with triton.InferenceServerClient(server) as client:
        for path in await asyncio.gather(*(generate(client, seed) for seed in (7, 8, 9))):
            print(path)


if __name__ == "__main__":
    asyncio.run(main())
