"""Images of NVIDIA's harnesses, each made of the evaluation image's by one recipe.

`python -m tests.rig.harness_images [NAME ...]` builds what is missing. A table of packages for each
harness (`harness_recipe/requirements/NAME.txt`) says what it has more than the evaluation image;
the name is the harness's in the catalogue.
"""

import hashlib
import sys
from pathlib import Path

from .docker_engine import DockerEngine, RigUnavailable, given_engine, locked, start_engine
from .image import NEMO_IMAGE, build, ensure_nemo_image, nemo_digest, recipe_of

RECIPE = Path(__file__).with_name("harness_recipe")
REQUIREMENTS = RECIPE / "requirements"

HARNESSES = tuple(sorted(path.stem for path in REQUIREMENTS.glob("*.txt")))

WITHOUT_TORCH = ("garak", "mtbench", "tooltalk")
"""Built with a stand-in for PyTorch (`stand_in.py`), which would be two gigabytes more."""


def harness_image(name: str) -> str:
    return f"snakeval-test/harness-{name.lower().replace('_', '-')}:26.03"


def ensure_harness_image(engine: DockerEngine, name: str) -> str:
    """The tag of a harness's image, built where it is missing: half a minute, one without much."""
    tag, digest = harness_image(name), _digest(name)
    if recipe_of(engine, tag) != digest:
        ensure_nemo_image(engine)
        with locked("image"):
            if recipe_of(engine, tag) != digest:
                build(engine, tag, _scripts(name)[-1], digest, NEMO_IMAGE, (name,))
    return tag


def _scripts(name: str) -> list[Path]:
    """What an image is made by; the last is run."""
    scripts = [RECIPE / "harness.sh"]
    if name in WITHOUT_TORCH:
        scripts += [RECIPE / "stand_in.py", RECIPE / "without_torch.sh"]
    return scripts


def _digest(name: str) -> str:
    files = (*_scripts(name), REQUIREMENTS / f"{name}.txt")
    parts = [nemo_digest(), *(path.read_text() for path in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def main(names: list[str]) -> None:
    try:
        engine = given_engine() or start_engine()
        for name in names or HARNESSES:
            print(ensure_harness_image(engine, name), flush=True)
    except RigUnavailable as reason:
        raise SystemExit(f"harness_images: {reason}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
