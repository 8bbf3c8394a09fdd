"""Devices that are there are taken, and what is wrong with the others is said by the parameter's name."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from imagegen.engine import EngineSettings
from imagegen.engine.ranks.devices import rank_devices, threads_of_a_rank


def settings(**values: object) -> EngineSettings:
    return EngineSettings(model="tiny", **values)  # type: ignore[arg-type]


def test_without_devices_it_is_the_one_of_the_instance_or_the_configured_one() -> None:
    assert rank_devices(settings(), "cuda:3") == ["cuda:3"]
    assert rank_devices(settings(device="cpu"), "cuda:3") == ["cpu"]


def test_numbers_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert rank_devices(settings(devices="2, 3"), "cpu") == ["cuda:2", "cuda:3"]
    assert rank_devices(settings(devices="cpu,cpu"), "cuda:0") == ["cpu", "cpu"]


@pytest.mark.parametrize(
    ("count", "devices", "problem"),
    [
        (0, "0,1", "cuda:0 is not there; this machine's GPUs: none"),
        (1, "0,1", "cuda:1 is not there; this machine's GPUs: number 0"),
        (2, "0,2", "cuda:2 is not there; this machine's GPUs: numbers 0 to 1"),
        (2, "0,0", "name a device twice, which only cpu may be"),
        (2, "0,cpu", "are not of one kind"),
        (2, "-1", "'-1' is no device; allowed are numbers of GPUs, and cpu"),
        (2, "first", "'first' is no device"),
    ],
)
def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, count: int, devices: str, problem: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match=r"parameter devices: .*" + problem.replace("(", r"\(")):
        rank_devices(settings(devices=devices), "cpu")


def test_ranks_on_the_host_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert threads_of_a_rank(settings(), ["cpu"] * 4).cpu_threads == 2
    assert threads_of_a_rank(settings(), ["cpu"] * 16).cpu_threads == 1
    assert threads_of_a_rank(settings(cpu_threads=5), ["cpu"] * 4).cpu_threads == 5
    assert threads_of_a_rank(settings(), ["cpu"]).cpu_threads == 0


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"devices": "cpu,cpu", "device": "cpu"}, "devices"),
        ({"parallelism": "context"}, "context needs two devices"),
        ({"parallelism": "tokens"}, "rows"),
        ({"parallelism": "context", "devices": "cpu,cpu", "compile": "true", "row_buckets": (16,)}, "compile"),
        ({"parallelism": "context", "devices": "cpu,cpu", "controlnets": "canny=net"}, "controlnets: not with"),
        ({"devices": "cpu,cpu", "compile": "aot"}, "aot is for one device"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        settings(**values)
