"""Decodes the files of a request at the same time as those of others, each to the size that its field needs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from imagegen.api.limits import RequestRules, fit_within
from imagegen.api.tensors import Pixels
from imagegen.file_names import native
from imagegen.images.input.blobs import MASK, REFERENCE, kind_of
from imagegen.images.input.decode import Header, decode_image, decode_mask, has_transparency, read_header
from imagegen.images.input.errors import ImageError
from imagegen.images.input.input_store import InputStore
from imagegen.images.input.media_type import is_wrong_type, shown_type
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.source import Encoded

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded file.

    Attributes:
        pixels: uint8 RGB [H, W, 3]; of a mask [H, W].
        header: of the file.
        path: where the file is kept, or None.
        warnings: for the client.
    """

    pixels: Pixels
    header: Header
    path: str | None
    warnings: tuple[str, ...]


class Decoders:
    """A bounded pool of threads that decode. Safe from any thread.

    Args:
        settings: limits, the number of threads, and where files are kept.
        decoded: called after each file with the seconds it took.

    Raises:
        OSError: `input_save_path` cannot be written to.
    """

    def __init__(self, settings: InputSettings, decoded: Callable[[float], None]) -> None:
        self._settings = settings
        self._decoded = decoded
        kept = settings.input_save_path
        self._input_store = None if kept is None else InputStore(Path(native(kept)))
        self._pool = ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode")

    def start(self, field: str, file: Encoded, size: tuple[int, int], rules: RequestRules) -> Future[Decoded]:
        """Decode a file.

        Args:
            field: that it came in.
            file: the file.
            size: (width, height) that it is made to cover. A reference keeps its proportions instead, and is only
                scaled down to the limits.
            rules: these limits; and a reference has the least side that the model takes.

        Returns:
            what it came to, or `ImageError`.
        """
        return self._pool.submit(self._decode, kind_of(field), file, size, rules)

    def auto_size(self, file: Encoded, rules: RequestRules) -> tuple[int, int]:
        """The (width, height) that a file asks for: its own, within the limits and down to the granularity.

        Raises:
            ImageError: it cannot be used.
        """
        header = self._pool.submit(read_header, file.data, self._settings).result()
        return fit_within(header.size, rules.limits, rules.granularity_px)

    def is_transparent(self, file: Encoded) -> bool:
        """Whether a file has transparent parts.

        Raises:
            ImageError: it cannot be used.
        """
        return self._pool.submit(has_transparency, file.data, self._settings).result()

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown()

    def _decode(self, kind: str, file: Encoded, size: tuple[int, int], rules: RequestRules) -> Decoded:
        started_s, data = time.monotonic(), file.data
        header = read_header(data, self._settings)
        if kind == REFERENCE:
            size = _reference_size(header.size, rules)
        pixels = (decode_mask if kind == MASK else decode_image)(data, self._settings, size)
        self._decoded(time.monotonic() - started_s)
        warnings = [f"has {header.frames} frames; the first is used"] if header.frames > 1 else []
        if is_wrong_type(file.declared_type, header.format):
            warnings.append(f"was declared as {shown_type(file.declared_type)} but is a {header.format} file")
        path = None
        if self._input_store is not None:
            try:
                path = self._input_store.save(data, header.format)
            except OSError:  # a full disk is no reason to refuse images
                _LOGGER.exception("an input image could not be kept")
                warnings.append("could not be kept by the server")
        return Decoded(pixels, header, path, tuple(warnings))


def _reference_size(original: tuple[int, int], rules: RequestRules) -> tuple[int, int]:
    size = fit_within(original, rules.limits)
    least = 1 if rules.conditions is None else rules.conditions.least_reference_px
    if min(size) < least:
        within = "" if size == original else f", within the limits {size[0]}x{size[1]}"
        raise ImageError(
            f"has {original[0]}x{original[1]} pixels{within}; each side is {least} or more for the model {rules.model}"
        )
    return size
