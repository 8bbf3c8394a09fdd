"""Image to image over gRPC with plain tritonclient: `python triton_grpc.py IMAGE [HOST:PORT]` writes repainted.png."""

import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton


def main() -> None:
    """Send one image with a prompt and write the image made from it."""
    image = Path(sys.argv[1]).read_bytes()
    server = sys.argv[2] if len(sys.argv) > 2 else "localhost:8001"
    values = {
        "prompt": ("BYTES", np.array([b"a green square"], dtype=np.object_)),
        "image": ("BYTES", np.array([image], dtype=np.object_)),  # or a URL, a data URL, base64; several make a list
        "strength": ("FP32", np.array([0.6], dtype=np.float32)),
        "seed": ("INT64", np.array([7], dtype=np.int64)),
    }
    inputs = []
    for name, (data_type, array) in values.items():
        tensor = triton.InferInput(name, list(array.shape), data_type)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    with triton.InferenceServerClient(server) as client:
        result = client.infer("image_generation", inputs, client_timeout=600.0)
    path = Path("repainted.png")
    path.write_bytes(result.as_numpy("generated_image")[0])
    print(f"{path}  seed {result.as_numpy('used_seed')[0]}")


if __name__ == "__main__":
    main()
