"""Of a log that grows, what is said of the start is told once, line by line."""

from __future__ import annotations

from pathlib import Path

from imagegen.launch.start_log import StartLog


def test_what_model_processes_say_of_the_start_is_told_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    start_log = StartLog(log)
    assert start_log.news() == []
    log.write_text(
        "I1129 18:00:00.1 1 server.cc:674] \n"
        "INFO imagegen.pipelines.checkpoint: loading sd15, 2.1 GB\n"
        "INFO imagegen.pipelines.loading: loading unet, 1.7 GB\n"
        "INFO httpx: HTTP Request\n"
        "INFO imagegen.engine.warm_up: warming up: text-to-im"
    )
    assert start_log.news() == ["loading sd15, 2.1 GB", "loading unet, 1.7 GB"]
    assert start_log.news() == []
    with log.open("a") as file:
        file.write("age at 64x64\nINFO imagegen.engine.warm_up: warmed up\n")
    assert start_log.news() == ["warming up: text-to-image at 64x64", "warmed up"]
