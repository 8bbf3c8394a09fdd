"""Stages a model repository for one run: links to the real files, `config.pbtxt` with parameters set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

CONFIG_NAME = "config.pbtxt"
_GROUP = model_config_pb2.ModelInstanceGroup


def read_model_config(path: Path) -> model_config_pb2.ModelConfig:
    """Parse one `config.pbtxt`.

    Raises:
        google.protobuf.text_format.ParseError: it is malformed.
    """
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def stage_repository(repository: Path, into: Path, parameters: Mapping[str, str]) -> Path:
    """Lay out `repository` in the new folder `into`; everything but the configurations is linked.

    A model whose parameter `devices` names its devices gets one instance, whatever GPUs there are.

    Args:
        repository: the model repository.
        into: a folder that does not exist yet.
        parameters: `{"model.parameter": value}`.

    Raises:
        ValueError: a key names no model of the repository.
    """
    models = {folder.name: folder for folder in sorted(repository.iterdir()) if (folder / CONFIG_NAME).exists()}
    for key in parameters:
        model, dot, parameter = key.partition(".")
        if model not in models or not (dot and parameter):
            raise ValueError(f"{key!r} is not MODEL.PARAMETER; models are {', '.join(models)}")
    for name, folder in models.items():
        staged = into / name
        staged.mkdir(parents=True)
        for item in folder.iterdir():
            if item.name != CONFIG_NAME:
                (staged / item.name).symlink_to(item.resolve())
        config = read_model_config(folder / CONFIG_NAME)
        for key, value in parameters.items():
            model, _, parameter = key.partition(".")
            if model == name:
                config.parameters[parameter].string_value = value
        if "devices" in config.parameters and config.parameters["devices"].string_value:
            del config.instance_group[:]
            config.instance_group.add(kind=_GROUP.KIND_MODEL, count=1)
        (staged / CONFIG_NAME).write_text(text_format.MessageToString(config), encoding="utf-8")
    return into
