"""The streaming model has room for one stream at least."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from imagegen.triton.stream_settings import StreamSettings


def test_no_stream_at_all_is_no_choice() -> None:
    assert StreamSettings().max_streams == 256
    with pytest.raises(ValidationError, match="max_streams"):
        StreamSettings(max_streams=0)
