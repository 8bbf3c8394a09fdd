"""The public tensors of `image_generation` and `image_generation_stream`, defined once.

Validation (`imagegen.api.request`), the `config.pbtxt` files, the client's arguments and the tables in
docs/api.md come from this list or are compared with it by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagegen.api import limits

Arrays = dict[str, npt.NDArray[Any]]
"""A model's inputs or outputs by name, as Triton delivers them; BYTES are object arrays of `bytes`."""

Pixels = npt.NDArray[np.uint8]
"""Decoded images and masks."""

MASK_FROM_ALPHA = "alpha"  # as `mask`: where the first image is transparent

OUTPUT_FORMATS = ("png", "jpeg", "webp")
OTHER_OUTPUT_FORMATS = {"jpg": "jpeg"}
"""Other names of output formats that are accepted."""
RESPONSE_FORMATS = ("bytes", "b64_json", "url")
SCHEDULERS = (
    "ddim",
    "ddpm",
    "deis",
    "dpmpp_2m",
    "dpmpp_sde",
    "euler",
    "euler_ancestral",
    "heun",
    "lcm",
    "pndm",
    "unipc",
)
STEP_CACHES = ("off", "fine", "balanced", "fast")
"""How many steps run the denoiser, from all to the fewest."""


@dataclass(frozen=True)
class PublicTensor:
    """One row of the documented table.

    Attributes:
        name: the tensor's name, lower case, as in OpenAI's images API or diffusers.
        data_type: Triton's name of the element type in `config.pbtxt`, without the `TYPE_` prefix.
        dims: Triton dims; -1 is any length.
        default: what applies when the input is absent, as documented.
        rule: the values accepted and what they mean, as documented.
        readers: of an input, the models behind `image_preprocess` that read it; `image_preprocess` reads all.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    default: str
    rule: str
    readers: tuple[str, ...] = ("diffusion",)


INPUTS = (
    PublicTensor(
        "prompt",
        "STRING",
        (1,),
        "required",
        f"1..{limits.MAX_PROMPT_CHARACTERS} characters, UTF-8",
        readers=("diffusion", "image_postprocess"),
    ),
    PublicTensor(
        "negative_prompt",
        "STRING",
        (1,),
        '""',
        f"0..{limits.MAX_PROMPT_CHARACTERS} characters, UTF-8",
        readers=("diffusion", "image_postprocess"),
    ),
    PublicTensor(
        "image",
        "STRING",
        (-1,),
        "none",
        f"1..{limits.MAX_IMAGES} images, each an http(s) URL, `data:...;base64,`, bare base64, or raw"
        " PNG/JPEG/WEBP bytes; selects image-to-image; one for all images, or one for each of the n",
        readers=(),
    ),
    PublicTensor(
        "mask",
        "STRING",
        (1,),
        "none",
        "as image, same size as the first image; alpha 0 or white = repaint; or the word alpha: the transparent parts"
        " of the first image, if it has any; needs image; selects inpainting",
        readers=(),
    ),
    PublicTensor(
        "reference_image",
        "STRING",
        (-1,),
        "none",
        f"1..{limits.MAX_REFERENCES} images, as image; all of them condition every output image; only for models that"
        " edit by references, as many as the model takes",
        readers=(),
    ),
    PublicTensor(
        "control_image",
        "STRING",
        (-1,),
        "none",
        f"1..{limits.MAX_CONTROLS} images, as image, which the output image follows; scaled to cover its size; only"
        " for models with controls",
        readers=(),
    ),
    PublicTensor(
        "control_type",
        "STRING",
        (-1,),
        "the model's only one",
        "what each of control_image shows, of the types that the model offers, as canny or depth",
    ),
    PublicTensor(
        "control_scale",
        "FP32",
        (-1,),
        "1",
        f"0..{limits.MAX_CONTROL_SCALE:g}, how strongly each of control_image counts, in its order",
    ),
    PublicTensor(
        "control_end",
        "FP32",
        (-1,),
        "1",
        "above 0, up to 1: until which part of the steps each of control_image counts, in its order",
    ),
    PublicTensor(
        "control_preprocess",
        "BOOL",
        (1,),
        "false",
        "true: control_image are plain images, of which the server makes what control_type says",
        readers=(),
    ),
    PublicTensor(
        "return_control",
        "BOOL",
        (1,),
        "false",
        "true: hand over as used_control_image what control_image came to; needs control_image",
        readers=("image_postprocess",),
    ),
    PublicTensor("n", "INT32", (1,), "1", f"1..{limits.MAX_N} images"),
    PublicTensor(
        "size", "STRING", (1,), '"auto"', '"WxH" in pixels, or "auto": the model\'s native size, or the input image\'s'
    ),
    PublicTensor("num_inference_steps", "INT32", (1,), "the model's", "1..the configured cap; above it an error"),
    PublicTensor("guidance_scale", "FP32", (1,), "the model's", "0..the configured cap; 0 is a value, not unset"),
    PublicTensor("strength", "FP32", (1,), "0.8", "above 0, up to 1; only with image"),
    PublicTensor(
        "scheduler", "STRING", (1,), "the model's", "one of " + ", ".join(SCHEDULERS) + " that fits the model"
    ),
    PublicTensor(
        "step_cache",
        "STRING",
        (1,),
        "the deployment's, off",
        "one of " + ", ".join(STEP_CACHES) + ": how many steps, of 8 or more, take a forecast of the model's output"
        " from earlier steps instead of running it",
    ),
    PublicTensor(
        "lora",
        "STRING",
        (-1,),
        "none",
        "names of LoRA adapters that the server offers, each once; all of them apply to every image; as many as the"
        " deployment allows, 4 by default",
    ),
    PublicTensor(
        "lora_scale",
        "FP32",
        (-1,),
        "1",
        f"-{limits.MAX_LORA_SCALE:g}..{limits.MAX_LORA_SCALE:g}, how strongly each of lora counts, in its order",
    ),
    PublicTensor(
        "timeout_ms", "INT32", (1,), "none", f"1..{limits.MAX_TIMEOUT_MS}, counted from arrival at the diffusion model"
    ),
    PublicTensor("seed", "INT64", (-1,), "random", "0..2^63-1; one value (image i gets seed+i) or n values"),
    PublicTensor(
        "output_format",
        "STRING",
        (1,),
        "png",
        "one of " + ", ".join(OUTPUT_FORMATS) + "; jpg is jpeg",
        readers=("image_postprocess",),
    ),
    PublicTensor(
        "output_compression",
        "INT32",
        (1,),
        "none",
        f"0..{limits.MAX_OUTPUT_COMPRESSION}: zlib effort for png,"
        " quality for jpeg (90 when absent) and webp (80 when absent; 100 is lossless)",
        readers=("image_postprocess",),
    ),
    PublicTensor(
        "response_format",
        "STRING",
        (1,),
        "bytes",
        "one of " + ", ".join(RESPONSE_FORMATS),
        readers=("image_postprocess",),
    ),
    PublicTensor(
        "user",
        "STRING",
        (1,),
        "none",
        f"1..{limits.MAX_USER_CHARACTERS} characters: opaque id for storage paths and logs",
        readers=("image_postprocess",),
    ),
)

OUTPUTS = (
    PublicTensor("generated_image", "STRING", (-1,), "", "n encoded images, base64 texts, or URLs"),
    PublicTensor("used_seed", "INT64", (-1,), "", "n seeds; one of them with n=1 gives the same image again"),
    PublicTensor(
        "metadata",
        "STRING",
        (1,),
        "",
        "JSON: model, task, size, num_inference_steps, computed_steps, step_cache, guidance_scale, strength, scheduler,"
        " loras, output_format, milliseconds by stage, mean_batch_rows, warnings; input_paths where the server keeps"
        " input images",
    ),
    PublicTensor(
        "used_control_image",
        "STRING",
        (-1,),
        "",
        "with return_control the control images as they were used, in the size of the image, handed over as"
        " generated_image is; else empty, shape [0]",
    ),
)

STREAM_INPUTS = (
    *INPUTS,
    PublicTensor(
        "partial_images",
        "INT32",
        (1,),
        "0",
        f"0..{limits.MAX_PARTIAL_IMAGES} previews of each image, evenly spread over its steps",
    ),
)

EVENTS = ("progress", "preview", "completed")

STREAM_OUTPUTS = (
    PublicTensor("event", "STRING", (1,), "", "one of " + ", ".join(EVENTS)),
    PublicTensor("step", "INT32", (1,), "", "denoising steps done; of several images, those of the slowest"),
    PublicTensor("total_steps", "INT32", (1,), "", "denoising steps in all; 0 while the request waits for its turn"),
    PublicTensor(
        "preview",
        "STRING",
        (1,),
        "",
        "only of preview: a small image in output_format; base64 text where response_format is not bytes",
    ),
    PublicTensor("preview_index", "INT32", (1,), "", "only of preview: which of the image's previews, from 0"),
    PublicTensor("image_index", "INT32", (1,), "", "only of preview: which of the n images, from 0"),
    *(
        PublicTensor(tensor.name, tensor.data_type, tensor.dims, "", "only of completed: as of image_generation")
        for tensor in OUTPUTS
    ),
)

INPUT_NAMES = tuple(tensor.name for tensor in INPUTS)
DIFFUSION_INPUTS = tuple(tensor.name for tensor in INPUTS if "diffusion" in tensor.readers)
POSTPROCESS_INPUTS = tuple(tensor.name for tensor in INPUTS if "image_postprocess" in tensor.readers)
OUTPUT_NAMES = tuple(tensor.name for tensor in OUTPUTS)

# Between the models; see the models' config.pbtxt for types and shapes.
IMAGE_INPUTS = ("image", "reference_image", "control_image")
"""Public inputs that bring images; a mask comes with `image`."""
IMAGE_TENSORS = ("pixels", "mask_pixels", "reference_pixels", "reference_sizes", "control_pixels")
"""Decoded input images, see `imagegen.api.input_images`."""
PREPROCESS_OUTPUTS = (*IMAGE_TENSORS, "preprocess_report")
DESCRIPTION_OUTPUT = "model_description"
"""Output of `image_preprocess`, the edge, which has it of the model behind: asked for alone, it needs no input."""
DIFFUSION_OUTPUTS = ("frames", "used_seed", "diffusion_report")
