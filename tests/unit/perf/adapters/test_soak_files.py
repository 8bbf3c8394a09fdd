"""The good files of a soak are read, and none of the faulty ones is."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.adapter_file import read_file
from imagegen.engine.adapters.conversion import to_adapter
from perf.adapters.soak_files import write_files
from tests.unit import tiny_pipelines as tiny


def test_which_files_can_be_read(tmp_path: Path) -> None:
    pipeline = tiny.sd()
    files = write_files(pipeline, tmp_path, staying=7, moving=2)
    assert {file.stem for file in files.folder.iterdir()} == {*files.staying, *files.faulty}
    adapters = {name: to_adapter(read_file(file, files.device_bytes), pipeline) for name, file in files.good.items()}
    assert sum("text_encoder" in adapter.components for adapter in adapters.values()) == 1
    assert adapters["s0"].digest == adapters["s6"].digest
    assert len({adapter.digest for adapter in adapters.values()}) == 8
    sizes = [adapter.size_bytes for adapter in adapters.values()]
    assert 2 * max(sizes) <= files.device_bytes < 8 * max(sizes)
    for name, file in files.faulty.items():
        with pytest.raises(AdapterError, match=name):
            to_adapter(read_file(file, files.device_bytes), pipeline)
