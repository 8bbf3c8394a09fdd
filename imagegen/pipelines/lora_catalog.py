"""Which LoRA adapters requests may name, and where each of them lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from imagegen.api.errors import InvalidArgument
from imagegen.api.loras import LoraChoice
from imagegen.api.parameter_types import SETTINGS_CONFIG
from imagegen.api.values import shown
from imagegen.pipelines.settings import PipelineSettings

SUFFIX = ".safetensors"
_SHOWN_NAMES = 20  # of those on offer, in a refusal


class LoraCatalog(BaseModel):
    """The adapters on offer. Never changed: who adds one makes another catalog.

    Attributes:
        modules: where each named adapter lies, a file, a folder or a hub id, by its name.
        folder: each `*.safetensors` in it is an adapter by its stem, as it is when somebody asks; empty for none.
        prefixes: a request may name, instead of a name, a file or hub id that begins with one of them.
    """

    model_config = SETTINGS_CONFIG

    modules: Mapping[str, str] = {}
    folder: str = ""
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: PipelineSettings, folder: Path) -> LoraCatalog:
        """The one that a deployment has configured.

        Args:
            settings: of the deployment.
            folder: where relative paths start.
        """
        modules = (module.partition("=")[::2] for module in settings.lora_modules)
        return cls(
            modules={name: where if not (folder / where).exists() else str(folder / where) for name, where in modules},
            folder=str(folder / settings.lora_folder) if settings.lora_folder else "",
            prefixes=settings.lora_prefixes,
        )

    def with_module(self, name: str, where: str) -> LoraCatalog:
        """The catalog with one adapter more."""
        return self.model_copy(update={"modules": {**self.modules, name: where}})

    def without_module(self, name: str) -> LoraCatalog:
        """The catalog without one of `modules`."""
        return self.model_copy(update={"modules": {each: at for each, at in self.modules.items() if each != name}})

    @property
    def is_configured(self) -> bool:
        """Whether there are adapters, or may be some."""
        return bool(self.modules or self.folder or self.prefixes)

    def names(self) -> tuple[str, ...]:
        """Those on offer now, in order."""
        return tuple(sorted({*self.modules, *self._in_folder()}))

    def check(self, loras: Iterable[LoraChoice]) -> None:
        """Refuse adapters that are not on offer.

        Raises:
            InvalidArgument: it names the first, and those that are.
        """
        for lora in loras:
            self.where(lora.name)

    def where(self, name: str) -> str:
        """Where an adapter lies: a file, a folder or a hub id.

        Raises:
            InvalidArgument: it is not on offer; those that are are named.
        """
        if name in self.modules:
            return self.modules[name]
        if name and self.folder and "/" not in name:
            file = Path(self.folder, name + SUFFIX)
            if _is_file(file):
                return str(file)
        # Not by resolving it: the folders of an administrator may be links. `..` would lead out of one.
        if name.startswith(self.prefixes) and _leads_nowhere_else(name):
            return name
        offered = self.names()
        more = f" and {len(offered) - _SHOWN_NAMES} more" if len(offered) > _SHOWN_NAMES else ""
        listed = ", ".join(map(shown, offered[:_SHOWN_NAMES])) + more
        raise InvalidArgument(
            "lora", f"{shown(name)} is not on offer; {f'these are: {listed}' if offered else 'none is'}"
        )

    def _in_folder(self) -> list[str]:
        if not self.folder:
            return []
        try:
            return [file.stem for file in Path(self.folder).iterdir() if file.suffix == SUFFIX and _is_file(file)]
        except OSError:  # it has vanished: what was in it is no longer on offer
            return []


def _leads_nowhere_else(name: str) -> bool:
    return ".." not in PurePosixPath(name).parts and "://" not in name and "\0" not in name


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


NO_LORAS = LoraCatalog()
