"""A staged repository has the same files by link and its own configurations; the original stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tritonclient.grpc import model_config_pb2

from imagegen.launch.staging import CONFIG_NAME, read_model_config, stage_repository

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two models, one with a parameter, beside a folder and a file that are none."""
    root = tmp_path / "repository"
    for name in ("alpha", "beta"):
        (root / name / "1").mkdir(parents=True)
        (root / name / "1" / "model.py").write_text(f"# {name}\n")
        (root / name / CONFIG_NAME).write_text(f'name: "{name}"\nbackend: "python"\n')
    (root / "beta" / "labels.txt").write_text("cat\n")
    (root / "beta" / CONFIG_NAME).write_text('name: "beta"\nparameters { key: "side" value: { string_value: "8" } }\n')
    (root / "notes").mkdir()
    (root / "README").write_text("not a model\n")
    return root


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_everything_but_the_configurations_is_linked(repository: Path, tmp_path: Path) -> None:
    staged = stage_repository(repository, tmp_path / "staged", {})
    assert staged == tmp_path / "staged"
    assert sorted(path.name for path in staged.iterdir()) == ["alpha", "beta"]
    assert (staged / "alpha" / "1").is_symlink()
    assert (staged / "beta" / "labels.txt").is_symlink()
    assert (staged / "alpha" / "1" / "model.py").read_text() == "# alpha\n"
    assert not (staged / "alpha" / CONFIG_NAME).is_symlink()


def test_a_link_leads_to_the_real_file_also_where_the_repository_holds_links(repository: Path, tmp_path: Path) -> None:
    real = tmp_path / "weights"
    real.mkdir()
    (repository / "alpha" / "checkpoint").symlink_to(real)
    staged = stage_repository(repository, tmp_path / "staged", {})
    assert (staged / "alpha" / "checkpoint").readlink() == real


def test_parameters_are_set_in_their_model_alone_and_what_was_there_stays(repository: Path, tmp_path: Path) -> None:
    parameters = {"alpha.model": "org/name.v1", "beta.side": "16", "beta.text": 'a "quoted"\nvalue'}
    staged = stage_repository(repository, tmp_path / "staged", parameters)
    alpha, beta = (read_model_config(staged / name / CONFIG_NAME) for name in ("alpha", "beta"))
    assert {name: value.string_value for name, value in alpha.parameters.items()} == {"model": "org/name.v1"}
    assert {name: value.string_value for name, value in beta.parameters.items()} == {
        "side": "16",
        "text": 'a "quoted"\nvalue',
    }
    assert alpha.backend == "python"


@pytest.mark.parametrize("key", ["gamma.model", "notes.model", "alpha", "alpha.", ".model", ""])
def test_a_key_that_names_no_parameter_of_a_model_is_refused_before_anything_is_laid_out(
    repository: Path, tmp_path: Path, key: str
) -> None:
    with pytest.raises(ValueError, match=r"is not MODEL\.PARAMETER; models are alpha, beta") as refusal:
        stage_repository(repository, tmp_path / "staged", {key: "x"})
    assert repr(key) in str(refusal.value)
    assert not (tmp_path / "staged").exists()


def test_the_original_is_left_alone(repository: Path, tmp_path: Path) -> None:
    before = contents(repository)
    stage_repository(repository, tmp_path / "staged", {"beta.side": "16"})
    assert contents(repository) == before


def test_a_folder_that_exists_is_not_overwritten(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "staged" / "alpha").mkdir(parents=True)
    with pytest.raises(FileExistsError):
        stage_repository(repository, tmp_path / "staged", {})


def test_our_own_repository_can_be_staged_without_loss(tmp_path: Path) -> None:
    staged = stage_repository(REPOSITORY, tmp_path / "staged", {})
    for folder in staged.iterdir():
        assert read_model_config(folder / CONFIG_NAME) == read_model_config(REPOSITORY / folder.name / CONFIG_NAME)
    assert {folder.name for folder in staged.iterdir()} == {
        "diffusion",
        "image_generation",
        "image_generation_admin",
        "image_generation_cancel",
        "image_generation_stream",
        "image_postprocess",
        "image_preprocess",
    }


def test_a_model_that_names_its_devices_has_one_instance_whatever_gpus_there_are(tmp_path: Path) -> None:
    groups = {}
    for number, devices in enumerate(("", "0,1")):
        staged = stage_repository(REPOSITORY, tmp_path / str(number), {"diffusion.devices": devices})
        (groups[devices],) = read_model_config(staged / "diffusion" / CONFIG_NAME).instance_group
    kinds = model_config_pb2.ModelInstanceGroup
    assert (groups[""].kind, groups[""].count) == (kinds.KIND_AUTO, 1)
    assert (groups["0,1"].kind, groups["0,1"].count) == (kinds.KIND_MODEL, 1)
