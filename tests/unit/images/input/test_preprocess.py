"""A request is checked as a whole, its images become pixels, and the report says what was done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.api.errors import Asleep, ImageRejected, InvalidArgument, Unavailable
from imagegen.api.limits import RequestLimits, RequestRules
from imagegen.api.loras import LoraChoice
from imagegen.api.reports import PreprocessReport
from imagegen.images.input.preprocess import Preprocessor
from imagegen.images.input.settings import InputSettings

Write = Callable[..., bytes]


class Running:
    """A preprocessor in a server that the test changes.

    Attributes:
        rules: what the models behind it allow.
        draining: whether the server is shutting down.
        asleep: whether the model behind was put to sleep.
        offered: names of adapters that it has.
        judged: the adapters of requests.
    """

    def __init__(self, no_metrics: Any, **settings: Any) -> None:
        self.rules = RequestRules()
        self.draining = self.asleep = False
        self._preprocessor = Preprocessor(
            InputSettings(**settings),
            no_metrics,
            lambda: self.rules,
            lambda: self.draining,
            lambda: self.asleep,
            self._check_loras,
        )
        self.close = self._preprocessor.close
        self.offered: set[str] = set()
        self.judged: list[Sequence[LoraChoice]] = []

    def _check_loras(self, loras: Sequence[LoraChoice]) -> None:
        self.judged.append(loras)
        for lora in loras:
            if lora.name not in self.offered:
                raise InvalidArgument("lora", f"{lora.name!r} is not on offer")

    def __call__(self, **values: Any) -> tuple[dict[str, Any], PreprocessReport]:
        """The outputs and the report for inputs given as one value or a list each."""
        arrays = {}
        for name, value in values.items():
            items = [item.encode() if isinstance(item, str) else item for item in np.atleast_1d(value).tolist()]
            dtypes = {bytes: np.object_, float: np.float32, int: np.int32, bool: np.bool_}
            arrays[name] = np.array(items, dtype=dtypes[type(items[0])])
        outputs = self._preprocessor.handle(arrays, "request-1")
        return outputs, PreprocessReport.from_json(outputs.pop("preprocess_report")[0])


@pytest.fixture
def new(no_metrics: Any) -> Iterator[Callable[..., Running]]:
    made = []

    def new(**settings: Any) -> Running:
        made.append(Running(no_metrics, **settings))
        return made[-1]

    yield new
    for running in made:
        running.close()


New = Callable[..., Running]


def image_array(*files: bytes) -> Any:
    array = np.empty(len(files), dtype=np.object_)
    array[:] = files
    return array


def test_a_request_without_images_gives_a_report_alone(new: New) -> None:
    outputs, report = new()(prompt="a red circle")
    assert outputs == {}
    assert report.started_s <= report.finished_s
    assert set(report.milliseconds) == {"preprocess"}
    assert (report.warnings, report.input_paths) == ((), {})


def test_images_and_mask_become_pixels(new: New, encoded: Write) -> None:
    image, mask = encoded(Image.new("RGB", (16, 8), "red")), encoded(Image.new("L", (16, 8), 255))
    outputs, _ = new()(prompt="x", image=image_array(image), mask=image_array(mask), size="32x24")
    assert outputs["pixels"].shape == (1, 24, 32, 3)
    assert outputs["pixels"].dtype == np.uint8
    assert outputs["mask_pixels"].shape == (1, 24, 32)
    assert np.all(outputs["mask_pixels"] == 255)


def test_the_report_has_the_warnings_and_where_images_are_kept(new: New, encoded: Write, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    animation = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    _, report = new(input_save_path=str(tmp_path))(prompt="x", image=image_array(animation))
    assert report.warnings == ("image[0]: has 2 frames; the first is used",)
    assert {name: Path(path).read_bytes() for name, path in report.input_paths.items()} == {"image[0]": animation}


def test_the_rules_of_the_moment_hold(new: New, encoded: Write) -> None:
    """They come from other models, which may be loaded again with other settings."""
    preprocess = new()
    preprocess(prompt="x", size="64x64")
    with pytest.raises(InvalidArgument, match="response_format"):
        preprocess(prompt="x", response_format="url")
    preprocess.rules = RequestRules(limits=RequestLimits(max_side_px=32), granularity_px=16, has_store=True)
    preprocess(prompt="x", response_format="url")
    with pytest.raises(
        InvalidArgument, match=r"^invalid_argument: size: .64x64. is not allowed: each side is 16\.\.32"
    ):
        preprocess(prompt="x", size="64x64")
    outputs, _ = preprocess(prompt="x", image=image_array(encoded(Image.new("RGB", (60, 40)))))
    assert outputs["pixels"].shape == (1, 16, 32, 3)


@pytest.mark.parametrize(
    ("values", "error", "field"),
    [
        ({"n": 2}, InvalidArgument, "prompt"),
        ({"prompt": "x", "n": 11}, InvalidArgument, "n"),
        ({"prompt": "x", "image": image_array(b"no image")}, ImageRejected, r"image[0]"),
    ],
)
def test_a_bad_request_is_refused_by_field(
    new: New, values: dict[str, Any], error: type[InvalidArgument], field: str
) -> None:
    with pytest.raises(error) as caught:
        new()(**values)
    assert type(caught.value) is error
    assert caught.value.field == field


def test_a_task_that_the_model_does_not_do_is_refused_before_its_images_are_looked_at(new: New, encoded: Write) -> None:
    preprocess = new()
    preprocess.rules = RequestRules(model="toy", tasks=("inpainting",))
    no_image = image_array(b"no image")
    with pytest.raises(InvalidArgument, match="image: the model toy does no text-to-image; it does inpainting"):
        preprocess(prompt="x")
    with pytest.raises(InvalidArgument, match="image: the model toy does no image-to-image; it does inpainting"):
        preprocess(prompt="x", image=no_image)
    with pytest.raises(ImageRejected):
        preprocess(prompt="x", image=no_image, mask=no_image)
    opaque = encoded(Image.new("RGB", (8, 8)))
    outputs, _ = preprocess(prompt="x", image=image_array(opaque), mask="alpha")
    assert "mask_pixels" not in outputs  # whether there is a mask only the image shows; diffusion refuses it


def test_a_server_that_shuts_down_takes_no_requests(new: New) -> None:
    preprocess = new()
    preprocess.draining = True
    with pytest.raises(Unavailable, match=r"^unavailable: the server is shutting down$"):
        preprocess(prompt="x")


def test_the_log_connects_request_and_user(new: New, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="imagegen.images.input.preprocess"):
        new()(prompt="x", user="someone")
    assert caplog.messages == ["request 'request-1' of user 'someone'"]


def test_asleep_who_has_no_deadline_is_refused_before_any_work(new: Callable[..., Running]) -> None:
    preprocess = new()
    preprocess.asleep = True
    with pytest.raises(Asleep, match="the model is asleep"):
        preprocess(prompt="a cat")
    preprocess(prompt="a cat", timeout_ms=1000)
    with pytest.raises(InvalidArgument):
        preprocess(prompt="a cat", n=99)


def test_an_adapter_that_is_not_on_offer_is_refused_before_any_work(new: New) -> None:
    preprocess = new()
    preprocess.offered = {"outline"}
    preprocess(prompt="a cat", lora="outline", lora_scale=0.5)
    assert preprocess.judged == [(LoraChoice("outline", 0.5),)]
    preprocess.asleep = True
    with pytest.raises(InvalidArgument, match="lora: 'dusk' is not on offer") as refused:
        preprocess(prompt="a cat", lora=["outline", "dusk"], image=image_array(b"no image"))
    assert refused.value.field == "lora"


def test_adapters_are_judged_only_where_there_are_any_and_they_fit_the_rules(new: New) -> None:
    preprocess = new()
    preprocess(prompt="a cat")
    preprocess.rules = RequestRules(limits=RequestLimits(max_loras_per_request=0))
    with pytest.raises(InvalidArgument, match="lora: 1 of them; at most 0 are allowed"):
        preprocess(prompt="a cat", lora="outline")
    assert preprocess.judged == []


def test_an_edge_that_is_served_alone_takes_any_adapter(no_metrics: Any) -> None:
    preprocessor = Preprocessor(InputSettings(), no_metrics, RequestRules, lambda: False)
    arrays = {name: np.array([b"x"], dtype=np.object_) for name in ("prompt", "lora")}
    assert "preprocess_report" in preprocessor.handle(arrays, "")
    preprocessor.close()
