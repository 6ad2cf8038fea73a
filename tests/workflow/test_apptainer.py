"""apptainer is called as its manual says, by a stand-in that writes the call down and starts the
command without a container: there is no apptainer in Debian."""

import json
import os

from quiz_project import OWN, quiz, target, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import ROOT, Project

STAND_IN = ROOT / "tests" / "rig" / "on_nodes"
IMAGE = "registry.example.org/team/quiz:1"
KEY = "canary-of-apptainer"
WITH_APPTAINER = ("--default-resources", "container_runtime='apptainer'", "--retries", "0")


def with_apptainer(project: Project) -> None:
    project.environment |= {
        "PATH": os.pathsep.join([str(STAND_IN), os.environ["PATH"]]),
        "APPTAINER_CALLS": str(project.folder / "calls"),
    }


def calls(project: Project) -> list[list[str]]:
    return [json.loads(line) for line in (project.folder / "calls").read_text().splitlines()]


def test_apptainer_gets_mounts_and_names_and_a_prefetched_image_in_place_of_its_name(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    endpoint.required_key = KEY
    project.environment["QUIZ_KEY"] = KEY
    project.folder.mkdir(parents=True)
    write(
        project,
        [quiz()],
        harnesses={"own": OWN["own"] | {"image": IMAGE}},
        execution={
            "output_dir": "out",
            "min_free_gb": 0,
            "mounts": {"evaluation": {str(project.folder): "/data"}, "mount_home": False},
        },
        target={
            "api_endpoint": {
                "url": project.url,
                "model_id": "test-model",
                "api_key_name": "QUIZ_KEY",
            }
        },
    )

    # given no apptainer: said in one sentence
    refused = target(project, "prefetch", *WITH_APPTAINER).refused()
    assert "apptainer: the command is not on the PATH" in refused.output

    # when it is there, and has fetched the image
    with_apptainer(project)
    target(project, "prefetch", *WITH_APPTAINER).check()
    (pulled,) = calls(project)
    assert pulled[:2] == ["pull", "--force"]
    assert pulled[-1] == f"docker://{IMAGE}"
    (image,) = (project.folder / "out" / "images").glob("*.sif")
    project.snakemake(*WITH_APPTAINER).check()

    # then it ran that file, with the folders it needs and no secret on its command line
    call = calls(project)[1]
    work = next((project.task("quiz") / "work").iterdir()).resolve()
    record = next((project.task("quiz") / "record").iterdir()).resolve()
    binds = [call[i + 1] for i, word in enumerate(call) if word == "--bind"]
    assert f"{work}:/results" in binds
    assert f"{project.folder.resolve()}:/data" in binds
    assert f"{OWN['own']['files']}:/snakeval/files:ro" in binds
    assert {"exec", "--cleanenv", "--no-home"} <= set(call)
    assert f"{record}:/snakeval/record:ro" in binds
    assert call[-6:-4] == [str(image.resolve()), "sh"]
    assert call[-2:] == ["sh", "/snakeval/record/command.sh"]
    assert KEY not in json.dumps(call)
    assert endpoint.answers.total() == 8
