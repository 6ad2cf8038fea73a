"""A real model server on CPU: llama.cpp (xllamacpp) with a model of random weights.

As a process: `llama()`. As an image: `ensure_server_image(engine)`, in which the same program is
`/opt/serve.py`, and `llama_image()`.
"""

import sys
from pathlib import Path
from typing import Any

from rig.docker_engine import DockerEngine, locked, rig_dir
from rig.image import ensure_image
from rig.model_server.random_model import write_random_model
from rig.pipeline import MODEL

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


def llama(name: str = MODEL, seed: int = 1, **more: Any) -> dict[str, Any]:
    """A deployment: the server as a process. Another `seed` is another model."""
    command = f"{sys.executable} {SERVE} --model {model_file(seed)} --host {{host}} --port {{port}}"
    served = {"type": "process", "command": f"{command} --served-model-name {name}"}
    return {**served, "served_model_name": name, **more}


def llama_image(image: str = SERVER_IMAGE, **more: Any) -> dict[str, Any]:
    """A deployment: the server in a container."""
    command = "/opt/venv/bin/python /opt/serve.py --model /checkpoint/model.gguf --host {host}"
    return {
        "type": "generic",
        "image": image,
        "command": f"{command} --port {{port}} --served-model-name {MODEL}",
        "checkpoint_path": str(model_file().parent),
        "served_model_name": MODEL,
        **more,
    }
