"""What every deployment of the server tells `tritonserver`: embedded, container, compose and Kubernetes alike.

`python -m imagegen.launch.triton_options` prints it, an argument a line. Addresses, ports and folders are each
deployment's own.

Not set: a response cache. To it two requests without a seed are the same, so it would repeat images.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass

Release = tuple[int, int]
"""Year and month of a Triton release, as (24, 10)."""

EMBEDDED_RELEASE: Release = (24, 10)
ADMIN_HEADER = "imagegen-admin-key"
"""What a request to a restricted API carries; over gRPC `triton-grpc-protocol-` goes before it."""
ADMIN_KEY_VARIABLE = "IMAGEGEN_ADMIN_KEY"
_RELEASE_VARIABLE = "NVIDIA_TRITON_SERVER_VERSION"  # set in the official images
_ADMIN_APIS = "model-repository,shared-memory,logging,trace"


@dataclass(frozen=True)
class Option:
    """One option of `tritonserver`.

    Attributes:
        name: without the dashes.
        value: what it is set to; may hold `{admin_key}` and `{exit_timeout_s}`.
        reason: why.
        since: the first release that knows it.
    """

    name: str
    value: str
    reason: str
    since: Release = EMBEDDED_RELEASE


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
    Option("allow-client-shm", "false", "clients send bytes; shared memory with them has had several CVEs", (26, 4)),
    Option(
        "http-max-input-size",
        "256000000",
        "as much as the OpenAI frontend takes: five images of the largest size; unset it is 64 MiB, one such in base64",
        (25, 6),
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


def triton_arguments(*, exit_timeout_s: int, release: Release, admin_key: str | None = None) -> list[str]:
    """The options as arguments of `tritonserver`.

    Args:
        exit_timeout_s: how long requests under way may take to finish after TERM.
        release: of the server; options that it does not know are left out.
        admin_key: opens the restricted APIs; None for that of the environment, or else one that nobody knows.
    """
    values = {
        "admin_key": admin_key or os.environ.get(ADMIN_KEY_VARIABLE) or secrets.token_urlsafe(32),
        "exit_timeout_s": exit_timeout_s,
    }
    known = (option for option in OPTIONS if option.since <= release)
    return [f"--{o.name}={o.value.format(**values)}" if o.value else f"--{o.name}" for o in known]


def triton_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with what the server needs where it is not set already."""
    return ENVIRONMENT | dict(environment)


def parse_release(text: str) -> Release:
    """A release from its name, such as `24.10`.

    Raises:
        ValueError: it is none.
    """
    year, dot, month = text.partition(".")
    if not (dot and year.isdecimal() and month.isdecimal() and 1 <= int(month) <= 12):
        raise ValueError(f"{text!r} is not a release of Triton, such as 24.10")
    return int(year), int(month)


def installed_release() -> Release:
    """The release of the container that this runs in; outside of Triton's containers the embedded one."""
    text = os.environ.get(_RELEASE_VARIABLE)
    return parse_release(text) if text else EMBEDDED_RELEASE


def main() -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m imagegen.launch.triton_options", description="Print tritonserver's options."
    )
    parser.add_argument("--release", type=parse_release, default=installed_release(), help="such as 26.06")
    parser.add_argument("--exit-timeout-s", type=int, default=30, help="default 30")
    parser.add_argument("--admin-key", help=f"default: the variable {ADMIN_KEY_VARIABLE}, else a random one")
    parser.add_argument("--reasons", action="store_true", help="print each option's reason too")
    given = parser.parse_args()
    printed = triton_arguments(exit_timeout_s=given.exit_timeout_s, release=given.release, admin_key=given.admin_key)
    reasons = [option.reason for option in OPTIONS if option.since <= given.release]
    for argument, reason in zip(printed, reasons, strict=True):
        print(f"{argument}  # {reason}" if given.reasons else argument)
    return 0


if __name__ == "__main__":
    sys.exit(main())
