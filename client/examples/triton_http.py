"""Text to image over HTTP with plain tritonclient: `python triton_http.py [HOST:PORT]` writes red-circle.png."""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton


def main() -> None:
    """Send one request and write its image."""
    server = sys.argv[1] if len(sys.argv) > 1 else "localhost:8000"
    values = {
        "prompt": ("BYTES", np.array([b"a red circle"], dtype=np.object_)),
        "size": ("BYTES", np.array([b"128x128"], dtype=np.object_)),
        "seed": ("INT64", np.array([7], dtype=np.int64)),
    }
    inputs = []
    for name, (data_type, array) in values.items():
        tensor = triton.InferInput(name, list(array.shape), data_type)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    # tritonclient waits 60 s by default; large models take longer.
    with triton.InferenceServerClient(server, network_timeout=600.0) as client:
        result = client.infer("image_generation", inputs)
    path = Path("red-circle.png")
    path.write_bytes(result.as_numpy("generated_image")[0])
    metadata = json.loads(result.as_numpy("metadata")[0])
    print(f"{path}  seed {result.as_numpy('used_seed')[0]}  {metadata['size']}")


if __name__ == "__main__":
    main()
