"""A real model server on CPU: llama.cpp (xllamacpp) with a model of random weights.

As a process: `[sys.executable, SERVE, "--model", model_file(), ...]`. As an image:
`ensure_server_image(engine)`, in which the same program is `/opt/serve.py`.
"""

from pathlib import Path

from rig.docker_engine import DockerEngine, locked, rig_dir
from rig.image import ensure_image
from rig.model_server.random_model import write_random_model

RECIPE = Path(__file__).with_name("recipe")
SERVE = RECIPE / "serve.py"
SERVER_IMAGE = "snakeval-test/llama-server:latest"


def model_file(seed: int = 1) -> Path:
    """A GGUF file of random weights, written once; 0.5 MB."""
    path = rig_dir() / f"random-{seed}" / "model.gguf"
    with locked("model"):
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_random_model(path, seed)
    return path


def ensure_server_image(engine: DockerEngine) -> str:
    """The tag of the server's image, built where it is missing (half a minute)."""
    return ensure_image(engine, SERVER_IMAGE, RECIPE / "server.sh")
