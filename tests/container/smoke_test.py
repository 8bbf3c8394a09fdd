"""`python -m tests.container.smoke_test IMAGE`: the image as Kubernetes runs it, asked for images.

Two containers that share a network of their own, as in a pod: the server and the OpenAI frontend. Both run without
root, capabilities or a writable root file system. Nothing outside can be reached and no port is taken.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PNG = b"\x89PNG\r\n\x1a\n"
_LOCKED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--pids-limit=8192",  # as in compose.yaml
    "--no-healthcheck",  # this program looks itself; podman's wants systemd
)
_READY_TIMEOUT_S = 600.0
_TRITON_CALL = """
import sys
from imagegen_client import ImageClient
with ImageClient("127.0.0.1:8001") as client:
    sys.stdout.buffer.write(client.generate("a red circle", seed=7).images[0])
"""
_OPENAI_CALL = """
import urllib.request
head = {"content-type": "application/json"}
body = b'{"prompt": "a red circle", "seed": 7}'
request = urllib.request.Request("http://127.0.0.1:9000/v1/images/generations", body, head)
print(urllib.request.urlopen(request).read().decode())
"""


class SmokeTestError(RuntimeError):
    """The container does not do what it should; the message says what."""


def main() -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.container.smoke_test", description="Run the image once.")
    parser.add_argument("image")
    parser.add_argument("--engine", default="docker", help="docker or podman; default docker")
    given = parser.parse_args()
    try:
        smoke_test(given.engine, given.image)
    except (SmokeTestError, subprocess.CalledProcessError) as error:
        print(f"smoke test: {error}", file=sys.stderr)
        return 1
    print("smoke test: passed")
    return 0


def smoke_test(engine: str, image: str) -> None:
    """Run it and ask for images.

    Args:
        engine: docker or podman.
        image: built by `./build.sh image`.

    Raises:
        SmokeTestError: it does not do what it should.
        CalledProcessError: the engine refused something.
    """
    with _container(engine, image, ["--network=none", "--shm-size=1g", "--tmpfs=/cache"], []) as server:
        _wait(engine, server, "http://127.0.0.1:8003/ready")
        print(f"server ready; {_output(engine, server, 'id').decode().strip()}")
        _expect(_output(engine, server, "python3", "-c", _TRITON_CALL).startswith(_PNG), "Triton's response is no PNG")
        print("an image over gRPC")
        frontend_command = ["python3", "-m", "imagegen.openai", "--tokenizer=/models/diffusion/1/checkpoint"]
        with _container(engine, image, [f"--network=container:{server}"], frontend_command) as frontend:
            _wait(engine, frontend, "http://127.0.0.1:9000/health/ready")
            response = json.loads(_output(engine, frontend, "python3", "-c", _OPENAI_CALL))
            _expect(base64.b64decode(response["data"][0]["b64_json"]).startswith(_PNG), "the frontend's is no PNG")
            _expect(response["usage"]["input_tokens"] > 0, "the frontend has no tokenizer")
            print("an image through OpenAI's API")
        _expect(_stop(engine, frontend) == 0, "the frontend did not end with 0 after TERM")
        written = subprocess.run([engine, "exec", server, "touch", "/written"], capture_output=True)
        _expect(written.returncode != 0, "the root file system can be written")
        for compiler in ("cc", "gcc", "g++", "clang", "pip", "pip3"):
            found = subprocess.run([engine, "exec", server, "sh", "-c", f"command -v {compiler}"], capture_output=True)
            print(f"{compiler}: {found.stdout.decode().strip() or 'none'}")
    _expect(_stop(engine, server) == 0, "the server did not end with 0 after TERM")
    print("both ended with 0 after TERM")


@contextmanager
def _container(engine: str, image: str, options: list[str], command: list[str]) -> Iterator[str]:
    """A running container's id; afterwards TERM. `_stop` removes it, and so does an error, after its log was shown."""
    container = _run(engine, "run", "--detach", *_LOCKED, *options, image, *command).decode().strip()
    try:
        yield container
    except BaseException:
        subprocess.run([engine, "logs", "--tail=60", container], check=False)
        subprocess.run([engine, "rm", "--force", container], check=False, stdout=subprocess.DEVNULL)
        raise
    _run(engine, "kill", "--signal=TERM", container)


def _stop(engine: str, container: str) -> int:
    """The exit status of a container that was told to end; it is removed."""
    status = int(_run(engine, "wait", container))
    _run(engine, "rm", "--force", container)
    return status


def _wait(engine: str, container: str, url: str) -> None:
    """Until the image's own health check finds `url` ready."""
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    while subprocess.run([engine, "exec", container, "python3", "-m", "imagegen.launch.ready", url]).returncode:
        _expect(time.monotonic() < deadline_s, f"{url} is not ready after {_READY_TIMEOUT_S:g} s")
        state = _run(engine, "inspect", "--format={{.State.Running}}", container).decode().strip()
        _expect(state == "true", "the container has ended")
        time.sleep(1)


def _output(engine: str, container: str, *command: str) -> bytes:
    return _run(engine, "exec", container, *command)


def _run(*command: str) -> bytes:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise SmokeTestError(otherwise)


if __name__ == "__main__":
    sys.exit(main())
