"""From frames to what the client asked for.

frames, controls where asked for ── encode, all at once ─┬─ bytes
                                                         ├─ base64 text
                                                         └─ store ── addresses
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import numpy.typing as npt
import pybase64

from imagegen.api.reports import GenerationReport
from imagegen.api.request import parse_output_choice
from imagegen.api.tensors import OUTPUT_FORMATS, Arrays
from imagegen.images.output.encode import check_frames, encode
from imagegen.images.output.encoding_pool import EncodingPool
from imagegen.images.output.file_metadata import FileText, file_text
from imagegen.images.output.metrics import OutputMetrics
from imagegen.images.output.object_key import object_keys
from imagegen.images.output.settings import OutputSettings
from imagegen.images.output.store import ResultStore


class Postprocessor:
    """Encodes the frames of requests and hands them over as asked. Safe from any thread.

    Args:
        settings: the model's configuration.
        metrics: of this model; closed by `close`.

    Raises:
        ImportError: the package for the configured store is not installed.
    """

    def __init__(self, settings: OutputSettings, metrics: OutputMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._pool = EncodingPool(settings.helper_threads)
        self._store = None
        if settings.output_url is not None:
            self._store = ResultStore(
                settings.output_url, settings.public_base_url, settings.signed_url_s, settings.store_timeout_s
            )
        for output_format in OUTPUT_FORMATS:  # Pillow loads its plugins when first used
            encode(np.zeros((8, 8, 3), np.uint8), output_format, None)

    def handle(self, arrays: Arrays, request_id: str) -> Arrays:
        """Handle one request.

        Args:
            arrays: the inputs of `image_postprocess` that are present.
            request_id: as the client sent it; may be empty.

        Returns:
            generated_image BYTES [n], used_seed INT64 [n], metadata BYTES [1], used_control_image BYTES [C], with C = 0
            unless control images are asked for.

        Raises:
            InvalidArgument: a field breaks its rule, or `url` is asked for and there is no store.
            StorageFailed: the store did not take the images; none of them is left in it.
            InternalError: the frames are not uint8 [n, H, W, 1 | 3 | 4].
        """
        try:
            return self._handle(arrays, request_id)
        except BaseException as error:
            self._metrics.failed(error)
            raise

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.close()
        if self._store is not None:
            self._store.close()
        self._metrics.close()

    def _handle(self, arrays: Arrays, request_id: str) -> Arrays:
        started_s = time.perf_counter()
        frames, seeds = arrays["frames"], arrays["frame_seed"]
        check_frames(frames)
        report = GenerationReport.from_json(arrays["diffusion_report"][0])
        choice = parse_output_choice(arrays, has_store=self._store is not None)
        encode_one = partial(self._encode, output_format=choice.output_format, compression=choice.output_compression)
        controls = list(arrays.get("control_pixels", ())) if choice.return_control else []
        to_encode = [*zip(frames, self._texts(arrays, report), strict=True), *((pixels, None) for pixels in controls)]
        images = self._pool.map(encode_one, to_encode)
        encoded_s = time.perf_counter()
        self._metrics.encoded(choice.output_format, encoded_s - started_s)
        milliseconds: dict[str, float] = {}
        results: list[bytes] = images
        if choice.response_format == "b64_json":
            results = [pybase64.b64encode(image) for image in images]
        elif choice.response_format == "url":
            assert self._store is not None, "parse_output_choice has refused it"
            keys = object_keys(choice.user, request_id, len(images), choice.output_format)
            addresses = self._store.store(images, keys, f"image/{choice.output_format}")
            results = [address.encode() for address in addresses]
            stored_s = time.perf_counter() - encoded_s
            self._metrics.stored(stored_s)
            milliseconds["store"] = round(stored_s * 1000, 2)
        count = len(frames)
        self._metrics.done(choice.output_format, images[:count])
        milliseconds["postprocess"] = round((time.perf_counter() - started_s) * 1000, 2)
        metadata = report.completed(choice.output_format, milliseconds)
        return {
            "generated_image": np.array(results[:count], dtype=np.object_),
            "used_seed": seeds,
            "metadata": np.array([metadata.to_json()], dtype=np.object_),
            "used_control_image": np.array(results[count:], dtype=np.object_),
        }

    def _texts(self, arrays: Arrays, report: GenerationReport) -> list[FileText | None]:
        """The text to write into the file of each image, None for none."""
        seeds = arrays["frame_seed"]
        if not self._settings.embed_parameters:
            return [None] * len(seeds)
        prompt, negative = (
            arrays[name][0].decode(errors="replace") if name in arrays else "" for name in ("prompt", "negative_prompt")
        )
        return [file_text(prompt, negative, int(seed), report) for seed in seeds]

    def _encode(
        self, item: tuple[npt.NDArray[np.uint8], FileText | None], output_format: str, compression: int | None
    ) -> bytes:
        frame, text = item
        return encode(frame, output_format, compression, self._settings.png_encoder, text)
