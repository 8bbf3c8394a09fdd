"""What every deployment of the server tells `tritonserver`: embedded, container, compose and Kubernetes alike.

`python -m imagegen.launch.triton_options` prints it, an argument a line. Addresses, ports and folders are each
deployment's own. Which of them a server knows it says itself: a release's number is nowhere asked for.

Not set: a response cache. To it two requests without a seed are the same, so it would repeat images.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from imagegen.launch.child_process import ServerError
from imagegen.triton.admin_key import ADMIN_KEY_VARIABLE

ADMIN_HEADER = "imagegen-admin-key"
"""What a request to a restricted API carries; over gRPC `triton-grpc-protocol-` goes before it."""
_ADMIN_APIS = "model-repository,shared-memory,logging,trace"
_HELP_TIMEOUT_S = 60.0  # it loads the CUDA libraries first
_HELP_LINE = re.compile(r"^\s+--([a-z0-9-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Option:
    """One option of `tritonserver`.

    Attributes:
        name: without the dashes.
        value: what it is set to; may hold `{admin_key}` and `{exit_timeout_s}`.
        reason: why.
        if_known: whether it is left out for a server that does not know it. Any other has to be known: nothing that
            protects the server is dropped in silence.
    """

    name: str
    value: str
    reason: str
    if_known: bool = False


OPTIONS = (
    Option("model-control-mode", "none", "nobody loads, replaces or unloads models from outside"),
    Option("disable-auto-complete-config", "", "every config.pbtxt is complete; saves one stub start a model"),
    Option("strict-readiness", "true", "ready means that every model is"),
    Option("exit-on-error", "true", "a model that cannot be loaded ends the server instead of being missed later"),
    Option("exit-timeout-secs", "{exit_timeout_s}", "requests under way get this long to finish after TERM"),
    Option(
        "http-restricted-api",
        f"{_ADMIN_APIS}:{ADMIN_HEADER}={{admin_key}}",
        "they read and write the server's memory, files and log; clients need none of them",
    ),
    Option("grpc-restricted-protocol", f"{_ADMIN_APIS}:{ADMIN_HEADER}={{admin_key}}", "the same over gRPC"),
    Option("allow-client-shm", "false", "clients send bytes; shared memory with them has had several CVEs", True),
    Option(
        "http-max-input-size",
        "256000000",
        "as much as the OpenAI frontend takes: five images of the largest size; unset it is 64 MiB, one such in base64",
        True,
    ),
    Option(
        "backend-config",
        "python,thread-pool-size=512",
        "requests that models send each other take a thread each: streams (max_streams) and the wakers of the queue",
    ),
    Option("allow-metrics", "true", "the metrics port is what autoscaling, dashboards and alerts read"),
    Option("trace-config", "level=OFF", "costs time for every request; the trace API turns it on for a while"),
)

ENVIRONMENT = {
    # glibc would raise it by itself and then leave gaps where large requests were: tritonserver grew from 129 to
    # 150 MiB between 600 and 3000 requests with images, and stays at 110 with this.
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "PYTHONUNBUFFERED": "1",  # what a model process writes before it dies reaches the log
}
"""Variables that the server and its model processes run with, where the user has not set them."""

PARAMETERS = {"diffusion.waking_requests": "480"}
"""Parameters of `config.pbtxt` files that fit these options: waking requests take threads of the python backend too."""


def known_options(program: str, environment: Mapping[str, str]) -> frozenset[str]:
    """The options that a `tritonserver` knows, by what it prints for `--help`.

    Args:
        program: its path.
        environment: variables to run it with.

    Raises:
        ServerError: it cannot be run.
    """
    try:
        printed = subprocess.run(
            [program, "--help"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # 24.10 writes it there, and ends with status 1
            timeout=_HELP_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{program} does not say which options it has: {error}") from error
    return frozenset(_HELP_LINE.findall(printed.decode(errors="replace")))


def triton_arguments(*, exit_timeout_s: int, known: Collection[str], admin_key: str | None = None) -> list[str]:
    """The options as arguments of `tritonserver`.

    Args:
        exit_timeout_s: how long requests under way may take to finish after TERM.
        known: the options that the server knows; of those marked `if_known`, others are left out.
        admin_key: opens the restricted APIs; None for that of the environment, or else one that nobody knows.
    """
    values = {
        "admin_key": admin_key or os.environ.get(ADMIN_KEY_VARIABLE) or secrets.token_urlsafe(32),
        "exit_timeout_s": exit_timeout_s,
    }
    return [f"--{o.name}={o.value.format(**values)}" if o.value else f"--{o.name}" for o in _given(known)]


def _given(known: Collection[str]) -> list[Option]:
    return [option for option in OPTIONS if not option.if_known or option.name in known]


def triton_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with what the server needs where it is not set already."""
    return ENVIRONMENT | dict(environment)


def main() -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m imagegen.launch.triton_options", description="Print tritonserver's options."
    )
    parser.add_argument(
        "--tritonserver", default="tritonserver", help="the program, which is asked for its options; without it all"
    )
    parser.add_argument("--exit-timeout-s", type=int, default=30, help="default 30")
    parser.add_argument("--admin-key", help=f"default: the variable {ADMIN_KEY_VARIABLE}, else a random one")
    parser.add_argument("--reasons", action="store_true", help="print each option's reason too")
    given = parser.parse_args()
    program = shutil.which(given.tritonserver)
    known = known_options(program, os.environ) if program else frozenset(option.name for option in OPTIONS)
    printed = triton_arguments(exit_timeout_s=given.exit_timeout_s, known=known, admin_key=given.admin_key)
    for argument, option in zip(printed, _given(known), strict=True):
        print(f"{argument}  # {option.reason}" if given.reasons else argument)
    return 0


if __name__ == "__main__":
    sys.exit(main())
