"""`imagegen generate` has an option for every argument, reads inputs, and fails in one line with the right status."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from imagegen_client.arguments import GenerateArguments
from imagegen_client.cli import main
from imagegen_client.generate_command import _print_metadata, _write_controls, build_parser
from imagegen_client.results import GenerateResult

CLIENT = Path(__file__).resolve().parents[3] / "client"
Captured = pytest.CaptureFixture[str]


def arguments_of(*argv: str) -> GenerateArguments:
    options = build_parser().parse_args(list(argv))
    return GenerateArguments(**{field.name: getattr(options, field.name) for field in fields(GenerateArguments)})


def test_defaults_are_those_of_the_library() -> None:
    assert arguments_of("a red circle") == GenerateArguments("a red circle")


def test_every_argument_has_an_option() -> None:
    line = (
        "--negative-prompt blurry --image a.png --image https://example.org/b.png --mask m.png -n 2 --size 128x64"
        " --num-inference-steps 3 --guidance-scale 0 --strength 0.5 --scheduler euler --timeout-ms 1000 --seed 7"
        " --seed 9 --output-format webp --output-compression 80 --response-format url --user someone --priority 1"
        " --timeout-s 5 --request-id mine --lora outline --lora dusk:0.8 --step-cache fast --reference c.png d.png"
        " --control canny=e.png:0.8 depth=f.png --control-end 0.5 --control-preprocess --return-control"
    )
    expected = GenerateArguments(
        "a red circle",
        negative_prompt="blurry",
        image=[Path("a.png"), "https://example.org/b.png"],
        mask=Path("m.png"),
        reference_image=[Path("c.png"), Path("d.png")],
        control_image=[Path("e.png"), Path("f.png")],
        control_type=["canny", "depth"],
        control_scale=[0.8, 1.0],
        control_end=[0.5],
        control_preprocess=True,
        return_control=True,
        n=2,
        size="128x64",
        num_inference_steps=3,
        guidance_scale=0.0,
        strength=0.5,
        scheduler="euler",
        step_cache="fast",
        lora=["outline", "dusk"],
        lora_scale=[1.0, 0.8],
        timeout_ms=1000,
        seed=[7, 9],
        output_format="webp",
        output_compression=80,
        response_format="url",
        user="someone",
        priority=1,
        timeout_s=5.0,
        request_id="mine",
    )
    unset = GenerateArguments("")
    assert all(getattr(expected, field.name) != getattr(unset, field.name) for field in fields(GenerateArguments))
    assert arguments_of("a red circle", *line.split()) == expected


def test_the_adapters_of_an_image_are_printed(capsys: Captured) -> None:
    loras = [{"name": "outline", "scale": 0.8}, {"name": "dusk", "scale": 1.0}]
    _print_metadata({"model": "toy", "loras": loras, "warnings": []})
    assert capsys.readouterr().err == "model toy, lora outline:0.8, lora dusk:1\n"


def test_the_used_control_images_lie_beside_the_images(tmp_path: Path) -> None:
    options = build_parser().parse_args(["A cat", "--out", str(tmp_path), "--output-format", "webp"])
    result = GenerateResult((b"image",), (), (7,), {}, used_control_images=(b"edges", b"depth"))
    for suffix in ("", "-2"):  # nothing is overwritten
        paths = [str(tmp_path / f"a-cat-seed7-control-{index}{suffix}.webp") for index in (0, 1)]
        assert _write_controls(result, options) == paths
        assert [Path(path).read_bytes() for path in paths] == [b"edges", b"depth"]
    assert _write_controls(GenerateResult((b"image",), (), (7,), {}), options) == []


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["generate"], "prompt"),
        (["generate", "x", "--seed", "seven"], "seed"),
        (["generate", "x", "--output-format", "gif"], "gif"),
        (["generate", "x", "--colour", "red"], "--colour"),
        (["generate", "x", "--control", "canny=a.png", "b.png"], "--control"),
        (["generate", "x", "--control"], "--control"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(argv: list[str], problem: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    printed = capsys.readouterr()
    assert exit_.value.code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert problem in printed.err


@pytest.mark.parametrize("with_", ["--protocol=http", "--priority=1"])
def test_previews_come_by_stream_only(with_: str, tmp_path: Path, capsys: Captured) -> None:
    assert main(["generate", "x", "--preview", with_, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "imagegen: invalid_argument: preview: needs --protocol grpc and no --priority\n"


def test_a_missing_image_file_is_wrong_usage(tmp_path: Path, capsys: Captured) -> None:
    assert main(["generate", "x", "--image", str(tmp_path / "none.png"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"imagegen: invalid_argument: image: cannot read {tmp_path}/none.png: No such file or directory\n"
    )


def test_a_folder_that_cannot_be_made_is_found_before_the_work(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "file").touch()
    assert main(["generate", "x", "--out", str(tmp_path / "file")]) == 1
    assert "File exists" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_no_server_is_one_line_and_status_1(protocol: str, tmp_path: Path, capsys: Captured) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{bound.getsockname()[1]}"
        assert main(["generate", "x", "--url", url, "--protocol", protocol, "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("imagegen: unavailable: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_ctrl_c_during_the_work_is_one_line_and_status_130(protocol: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "imagegen_client", "generate", "x", "--url", url, "--protocol", protocol]
        with subprocess.Popen(
            [*command, "--out", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(CLIENT)},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1)  # it waits for the response now
                process.send_signal(signal.SIGINT)
                _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "imagegen: interrupted\n")
