"""Which file stands for an image, and when it does not."""

from pathlib import Path

from snakeval.render import task
from snakeval.runtime import RUNTIMES, archives
from snakeval.runtime.archives import Prefetched
from snakeval.runtime.on_nodes import reference

IMAGE = "nvcr.io/nvidia/eval-factory/simple-evals:26.03"
PINNED = "nvcr.io/nvidia/eval-factory/simple-evals@sha256:0f"


def prefetched(folder: Path, runtime: str = "docker") -> Prefetched:
    file = archives.place(folder, IMAGE, runtime)
    return Prefetched(IMAGE, PINNED, "sha256:1d", str(file.relative_to(folder)))


def test_a_file_is_found_once_it_is_whole_and_by_the_runtimes_that_can_take_it(
    tmp_path: Path,
) -> None:
    made = prefetched(tmp_path)
    file = tmp_path / made.file
    file.parent.mkdir()
    file.write_text("half")
    assert archives.find(tmp_path, IMAGE, "docker") is None

    archives.note(tmp_path, made)

    assert archives.find(tmp_path, IMAGE, "docker") == made
    assert archives.find(tmp_path, IMAGE, "podman") == made
    for runtime in ("apptainer", "pyxis", "process"):
        assert archives.find(tmp_path, IMAGE, runtime) is None
    assert archives.find(tmp_path, "nvcr.io/other/simple-evals:26.03", "docker") is None
    file.unlink()
    assert archives.find(tmp_path, IMAGE, "docker") is None


def test_every_runtime_has_a_script_and_images_of_a_registry_have_a_kind_of_file() -> None:
    assert set(task.RUNTIMES) == RUNTIMES.keys()
    assert archives.KINDS.keys() == RUNTIMES.keys() - {"process", "image"}


def test_an_engines_own_id_is_no_reference_elsewhere() -> None:
    assert reference("sha256:1d", IMAGE, None) == IMAGE
    assert reference(PINNED, IMAGE, None) == PINNED
    assert reference(IMAGE, IMAGE, "mirror.corp/x") == (
        "mirror.corp/x/nvidia/eval-factory/simple-evals:26.03"
    )
    assert reference("/lustre/x.sif", "/lustre/x.sif", "mirror.corp/x") == "/lustre/x.sif"
