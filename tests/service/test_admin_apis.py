"""What administrates the server is closed to clients, over both protocols."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from imagegen.launch.embedded_server import EmbeddedServer


@pytest.mark.parametrize(
    "path",
    [
        "v2/repository/index",
        "v2/repository/models/diffusion/unload",
        "v2/systemsharedmemory/region/x/register",
        "v2/logging",
        "v2/trace/setting",
    ],
)
def test_over_http(server: EmbeddedServer, path: str) -> None:
    request = urllib.request.Request(f"http://{server.http_url}/{path}", data=b"{}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as error:
        assert error.code == 403


def test_over_grpc(server: EmbeddedServer) -> None:
    with triton.InferenceServerClient(server.grpc_url) as client:
        calls = (
            client.get_model_repository_index,
            lambda: client.unload_model("diffusion"),
            client.get_system_shared_memory_status,
            client.get_log_settings,
            client.get_trace_settings,
        )
        for call in calls:
            with pytest.raises(InferenceServerException, match="restricted"):
                call()
