"""The embedded server's life: it says why it cannot start, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY


def test_a_model_that_fails_to_load_is_reported_in_its_own_words() -> None:
    with (
        pytest.raises(ServerError, match=r"model diffusion: .*no_such_checkpoint") as failed,
        EmbeddedServer(MODEL_REPOSITORY, parameters={"diffusion.model": "no_such_checkpoint"}),
    ):
        pass
    assert "\n" not in str(failed.value)


def test_wrong_parameters_are_named() -> None:
    wrong = {
        "diffusion.max_batch_rows": "0",
        "image_preprocess.max_connections": "many",
        "image_postprocess.speed": "fast",
    }
    with pytest.raises(ServerError) as failed, EmbeddedServer(MODEL_REPOSITORY, parameters=wrong):
        pass
    for words in (
        "max_batch_rows",
        "max_connections: 'many' is not allowed; it should be a valid integer",
        "'speed' is unknown",
    ):
        assert words in str(failed.value)


def test_a_parameter_of_no_model_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="models are diffusion"),
        EmbeddedServer(MODEL_REPOSITORY, parameters={"x.y": "1"}),
    ):
        pass


def test_a_busy_port_is_named() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with (
            pytest.raises(ServerError, match=f"grpc port {port} is not available"),
            EmbeddedServer(MODEL_REPOSITORY, grpc_port=port),
        ):
            pass


def test_shared_memory_of_killed_launchers_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "image_postprocess").symlink_to(MODEL_REPOSITORY / "image_postprocess")  # one model starts soon
    with subprocess.Popen(["true"]) as ended:
        pass
    stale = Path("/dev/shm") / f"imagegen_{ended.pid}_1_left"
    mine = Path("/dev/shm") / f"imagegen_{os.getpid()}_1_kept"
    for segment in (stale, mine):
        segment.touch()
    try:
        with EmbeddedServer(tmp_path):
            assert not stale.exists()
            assert mine.exists()
    finally:
        mine.unlink()
