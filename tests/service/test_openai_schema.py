"""Requests made up from the served OpenAPI document: none gives a 500, an undocumented status or another content.

That those which the document allows are accepted is asked of a frontend before a stand-in for Triton, in
tests/unit/openai/test_schema_conformance.py, where sizes and numbers cost nothing.

2,000 cases, where time is no matter, against a frontend that runs:
`schemathesis run http://localhost:9000/openapi.json --max-examples 400 --checks \
not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method`
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.service.conftest import OpenAIServer
from tests.service.http_pieces import connect, json_request, read_response

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "missing_required_header",
    "negative_data_rejection",
    "unsupported_method",
)


def test_made_up_requests_get_documented_responses(openai_server: OpenAIServer, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{openai_server.url}/openapi.json"]
    # With some seeds schemathesis 4.32 fails by itself, at a form whose files it judges: "Unsupported type: 'Binary'".
    command += ["--max-examples", "20", "--checks", ",".join(CHECKS), "--seed", "2", "--phases", "fuzzing"]
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join((str(root), str(root / "client")))
    hooks = {"SCHEMATHESIS_HOOKS": "tests.service.schemathesis_hooks", "PYTHONPATH": paths}
    environment = os.environ | {"NO_COLOR": "1"} | hooks
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-1000:]
    cases = re.search(r"(\d+) generated", ended.stdout)
    assert cases is not None
    assert int(cases[1]) >= 100
    with connect(openai_server.url) as connection:
        connection.sendall(json_request("/v1/images/generations", {"prompt": "x", "num_inference_steps": 1}))
        assert read_response(connection)[0] == 200
