"""All kinds of requests, and which one comes when: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from perf.hostile import (
    form_kinds,
    image_kinds,
    json_kinds,
    leaving_kinds,
    socket_kinds,
    tensor_kinds,
    valid_kinds,
)
from perf.hostile.case import Case, Way

Make = Callable[[random.Random], Case]


@dataclass(frozen=True)
class Surroundings:
    """What cases need to know of where they are sent.

    Attributes:
        private_url: of a host on loopback that the server must not connect to.
        bad_url: of `bad_host`, for the server that may; None where there is no such server.
        body_timeout_s: the frontend's time for a body to arrive; None where it is not known.
    """

    private_url: str = "http://127.0.0.1:9"
    bad_url: str | None = None
    body_timeout_s: float | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of requests.

    Attributes:
        make: a case, by dice alone.
        weight: how often it comes, relative to the others.
    """

    make: Make
    weight: float = 1.0


def kinds(surroundings: Surroundings) -> dict[str, Kind]:
    """Every kind by name."""
    named: dict[str, Kind] = {
        "valid/openai": Kind(valid_kinds.by_openai, 1.2),
        "valid/generate": Kind(valid_kinds.by_generate, 0.6),
        "valid/infer": Kind(valid_kinds.by_infer, 0.4),
        "valid/grpc": Kind(valid_kinds.by_grpc, 0.8),
        "openai-json/wrong-field": Kind(json_kinds.openai_field, 4),
        "openai-json/values-at-their-edges": Kind(json_kinds.openai_unlikely, 0.7),
        "openai-json/no-fields": Kind(json_kinds.openai_body, 2),
        "openai-json/damaged": Kind(json_kinds.openai_mutated, 2),
        "openai/no-such-route": Kind(json_kinds.openai_route),
        "openai-form/wrong-field": Kind(form_kinds.fields, 2),
        "openai-form/structure": Kind(form_kinds.structure, 2),
        "openai-form/odd-headers": Kind(form_kinds.headers, 0.5),
        "openai-form/damaged": Kind(form_kinds.damaged),
        "generate/wrong-tensor": Kind(json_kinds.generate_field, 3),
        "generate/values-at-their-edges": Kind(json_kinds.generate_unlikely, 0.7),
        "generate/no-tensors": Kind(json_kinds.generate_body, 2),
        "generate/damaged": Kind(json_kinds.generate_mutated, 2),
        "triton/no-such-route": Kind(json_kinds.triton_route),
        "cancel/json": Kind(json_kinds.cancel, 0.5),
        "cancel/tensors": Kind(tensor_kinds.cancels, 0.5),
        "image/file": Kind(image_kinds.as_file, 2),
        "image/data-url": Kind(image_kinds.as_data_url, 2),
        "image/text-that-is-none": Kind(image_kinds.as_text),
        "image/tensor": Kind(image_kinds.as_tensor, 2),
        "image/private-address": Kind(partial(image_kinds.by_address, host_url=surroundings.private_url), 2),
        "image/too-many": Kind(image_kinds.too_many, 0.3),
        "image/too-large": Kind(image_kinds.too_large, 0.2),
        "tensors/wrong": Kind(tensor_kinds.wrong_tensor, 4),
        "tensors/negative-shape": Kind(tensor_kinds.negative_shape, 0.5),
        "tensors/wrong-set": Kind(tensor_kinds.wrong_set),
        "tensors/parameters": Kind(tensor_kinds.parameters),
        "tensors/names": Kind(tensor_kinds.names),
        "tensors/binary-form": Kind(tensor_kinds.binary_form),
        "tensors/binary-form-damaged": Kind(tensor_kinds.binary_damaged),
        "tensors/message-damaged": Kind(tensor_kinds.message_damaged),
        "client-leaves/sending": Kind(leaving_kinds.sending),
        "client-leaves/waiting": Kind(leaving_kinds.waiting, 0.5),
        "client-leaves/streaming": Kind(leaving_kinds.streaming, 0.5),
        "client-leaves/grpc": Kind(leaving_kinds.calls, 0.5),
        "openai-socket/stalled-body": Kind(partial(socket_kinds.stalled, timeout_s=surroundings.body_timeout_s), 0.1),
    }
    if surroundings.bad_url is not None:
        named["image/bad-host"] = Kind(partial(image_kinds.from_bad_host, host_url=surroundings.bad_url), 0.5)
    for way, prefix in ((Way.OPENAI, "openai"), (Way.HTTP, "triton")):
        for name, make, weight in (
            ("odd-head", socket_kinds.odd_head, 0.5),
            ("odd-method", socket_kinds.odd_method, 0.2),
            ("expect", socket_kinds.expects, 0.2),
            ("chunks", socket_kinds.chunks, 0.5),
            ("no-http", socket_kinds.no_http, 1),
            ("damaged-head", socket_kinds.damaged, 1),
            ("pipelined", socket_kinds.pipelined, 0.2),
            ("half-a-request", socket_kinds.half, 0.5),
            ("slow", socket_kinds.slow, 0.2),
        ):
            named[f"{prefix}-socket/{name}"] = Kind(partial(make, way=way), weight)
    return named


@dataclass(frozen=True)
class Numbered:
    """A case and the name by which it is made again.

    Attributes:
        kind: its kind.
        index: its number among those of its kind.
        case: what is sent.
    """

    kind: str
    index: int
    case: Case

    @property
    def name(self) -> str:
        """As the option `--only` takes it."""
        return f"{self.kind}:{self.index}"


def numbered(named: dict[str, Kind], kind: str, index: int, seed: int) -> Numbered:
    """The case of this kind and number.

    Raises:
        KeyError: there is no such kind.
    """
    return Numbered(kind, index, named[kind].make(random.Random(f"{seed}/{kind}/{index}")))


def sequence(named: dict[str, Kind], requests: int, seed: int) -> Iterator[tuple[str, int]]:
    """Kind and number of each case in turn: first one of each kind, then by weight and chance."""
    dice = random.Random(seed)
    order = list(named)
    dice.shuffle(order)
    left = max(0, requests - len(order))
    order = order[:requests] + dice.choices(list(named), [kind.weight for kind in named.values()], k=left)
    counts = dict.fromkeys(named, 0)
    for kind in order:
        yield kind, counts[kind]
        counts[kind] += 1
