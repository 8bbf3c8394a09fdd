"""Which adapters an engine offers, and how an administrator changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.api.errors import InvalidArgument, Unavailable
from imagegen.engine.lora_offer import LoraOffer
from imagegen.pipelines.lora_catalog import LoraCatalog


class Offer(LoraOffer):
    """An engine that notes what it is to read and to forget."""

    def __init__(self, catalog: LoraCatalog) -> None:
        super().__init__(catalog)
        self.said: list[tuple[str, ...]] = []
        self.error: Exception | None = None

    def _check_lora(self, name: str, where: str) -> None:
        self.said.append(("check", name, where))
        if self.error is not None:
            raise self.error

    def _forget_lora(self, name: str, where: str) -> None:
        self.said.append(("forget", name, where))


def test_one_that_fits_is_offered_until_it_is_unloaded() -> None:
    offer = Offer(LoraCatalog(modules={"first": "/first"}))
    offer.load_lora("second", "/second")
    assert offer.catalog.names() == ("first", "second")
    offer.unload_lora("first")
    assert offer.catalog.names() == ("second",)
    assert offer.said == [("check", "second", "/second"), ("forget", "first", "/first")]


def test_one_that_does_not_fit_is_not_offered() -> None:
    offer = Offer(LoraCatalog())
    offer.error = Unavailable("no process")
    with pytest.raises(Unavailable):
        offer.load_lora("second", "/second")
    assert offer.catalog.names() == ()


def test_to_load_the_same_again_does_nothing() -> None:
    offer = Offer(LoraCatalog(modules={"first": "/first"}))
    offer.load_lora("first", "/first")
    assert offer.said == []


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outline.safetensors").touch()
    offer = Offer(LoraCatalog(modules={"first": "/first"}, folder=str(tmp_path)))
    for name in ("first", "outline"):
        with pytest.raises(InvalidArgument, match=f"lora_name: '{name}' is taken by another adapter"):
            offer.load_lora(name, "/other")


def test_what_is_not_loaded_cannot_be_unloaded(tmp_path: Path) -> None:
    (tmp_path / "outline.safetensors").touch()
    offer = Offer(LoraCatalog(folder=str(tmp_path)))
    with pytest.raises(InvalidArgument, match="lora_name: 'none' is not loaded"):
        offer.unload_lora("none")
    with pytest.raises(InvalidArgument, match="'outline' comes from lora_folder; remove its file"):
        offer.unload_lora("outline")
