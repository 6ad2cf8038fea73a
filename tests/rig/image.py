"""The images of the tests, made without an image registry.

`python -m tests.rig.image` builds what is missing. The base is a Debian made by debootstrap; the
evaluation image adds the real NeMo Evaluator core and its lm-eval harness (recipe/). Both carry
a label with the digest of their recipe and are built again when that has changed.
"""

import ast
import contextlib
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .docker_engine import DockerEngine, RigUnavailable, given_engine, locked, rig_dir, start_engine

BASE_IMAGE = "snakeval-test/base:latest"
NEMO_IMAGE = "snakeval-test/nemo-eval:26.03"
# The folder with the task snakeval_sums, for lm-eval's --include_path.
BENCHMARK = Path(__file__).with_name("benchmark")

_SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "procps", "python3", "python3-venv")
_PATH = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RECIPE = Path(__file__).with_name("recipe")
_RECIPE_LABEL = "snakeval-test.recipe"

# Settings of pip that say where packages come from; others (user, target, ...) are about the host.
_PIP_SOURCES = (
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
)
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")
_CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_SYSTEM_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def ensure_base_image(engine: DockerEngine) -> str:
    """Debian with python3, venv and ps, about 200 MB; its tag. One minute when it is missing."""
    with locked("image"):
        digest = _base_digest()
        if recipe_of(engine, BASE_IMAGE) != digest:
            settings = [f"ENV PATH={_PATH}", 'CMD ["bash"]', f"LABEL {_RECIPE_LABEL}={digest}"]
            with _base_archive().open("rb") as archive:
                engine.docker("import", *_changes(settings), "-", BASE_IMAGE, stdin=archive)
    return BASE_IMAGE


def ensure_nemo_image(engine: DockerEngine) -> str:
    """The evaluation image, about 1.2 GB; its tag. Two to three minutes when it is missing."""
    digest = nemo_digest()
    if recipe_of(engine, NEMO_IMAGE) != digest:
        ensure_base_image(engine)
        with locked("image"):
            if recipe_of(engine, NEMO_IMAGE) != digest:
                build(engine, NEMO_IMAGE, _RECIPE / "nemo.sh", digest)
    return NEMO_IMAGE


def ensure_image(engine: DockerEngine, tag: str, script: Path) -> str:
    """An image that a script makes of the base image; the files beside it are in /build."""
    files = sorted(path for path in script.parent.iterdir() if path.is_file())
    parts = [_base_digest(), *(path.read_text() for path in files)]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    if recipe_of(engine, tag) != digest:
        ensure_base_image(engine)
        with locked("image"):
            if recipe_of(engine, tag) != digest:
                build(engine, tag, script, digest)
    return tag


def build(
    engine: DockerEngine,
    tag: str,
    script: Path,
    digest: str,
    base: str = BASE_IMAGE,
    arguments: tuple[str, ...] = (),
) -> None:
    """Run a recipe's script in a container of a base image and commit it.

    Not a Dockerfile: BuildKit, whose secrets would serve as well, is missing in Debian's Docker.
    What is mounted (CA bundle, package settings) is in no layer and in no variable of the image.
    """
    container = f"snakeval-test-build-{os.getpid()}"
    with _build_folder(script.parent) as folder:
        mounts = [f"{folder}:/build:ro", *(f"{path}:{path}:ro" for path in _package_folders())]
        mounts.append(f"{_wheels()}:/root/.cache/pip")
        volumes = [word for mount in mounts for word in ("--volume", mount)]
        run = ["run", "--name", container, "--network", "host", *volumes, base]
        try:
            engine.docker(*run, "bash", f"/build/{script.name}", *arguments, timeout=1800)
            settings = ['CMD ["bash"]', f"LABEL {_RECIPE_LABEL}={digest}"]
            engine.docker("commit", *_changes(settings), container, tag)
        finally:
            with contextlib.suppress(RigUnavailable):
                engine.docker("rm", "--force", container)


def _wheels() -> Path:
    """pip's cache, which all builds share: what one has brought the next need not bring."""
    folder = rig_dir() / "wheels"
    folder.mkdir(exist_ok=True)
    return folder


def _changes(instructions: list[str]) -> list[str]:
    return [word for line in instructions for word in ("--change", line)]


def recipe_of(engine: DockerEngine, tag: str) -> str | None:
    """The recipe's digest that an image was built from; None where there is no such image."""
    try:
        format_ = f'{{{{index .Config.Labels "{_RECIPE_LABEL}"}}}}'
        return engine.docker("image", "inspect", "--format", format_, tag)
    except RigUnavailable:
        return None


def _base_digest() -> str:
    return hashlib.sha256(" ".join([_SUITE, *_PACKAGES, _PATH]).encode()).hexdigest()[:16]


def nemo_digest() -> str:
    parts = [_base_digest(), *(path.read_text() for path in sorted(_RECIPE.iterdir()))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _base_archive() -> Path:
    """The base's file tree as a tar file, kept: the costly part, and every engine can import it."""
    archive = rig_dir() / f"base-{_base_digest()}.tar"
    if archive.exists():
        return archive
    if os.geteuid() != 0:
        raise RigUnavailable("the base image is missing, and only root can make one (debootstrap)")
    if shutil.which("debootstrap") is None:
        raise RigUnavailable("debootstrap is missing (Debian: apt-get install debootstrap)")
    with tempfile.TemporaryDirectory(dir=rig_dir(), prefix="base-") as folder:
        tree, unfinished = Path(folder, "tree"), Path(folder, "base.tar")
        packages = ",".join(_PACKAGES)
        _run("debootstrap", "--variant=minbase", f"--include={packages}", _SUITE, str(tree))
        without = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*"]
        _run("tar", "-C", str(tree), "--numeric-owner", *without, "-cf", str(unfinished), ".")
        unfinished.replace(archive)
    return archive


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-2:]
        raise RigUnavailable(f"{command[0]}: {' | '.join(said)}")


@contextlib.contextmanager
def _build_folder(recipe: Path) -> Iterator[Path]:
    """What a recipe finds under /build: itself, CA bundle, pip's settings, variables."""
    with tempfile.TemporaryDirectory(prefix="snakeval-test-build-") as name:
        folder = Path(name)
        shutil.copytree(recipe, folder, dirs_exist_ok=True)
        pip_settings = [f"{key} = {value}" for key, value in _pip_sources().items()]
        (folder / "pip.conf").write_text("\n".join(["[global]", *pip_settings, ""]))
        variables = {"PIP_CONFIG_FILE": "/build/pip.conf", **_proxies()}
        if bundle := _ca_bundle():
            shutil.copyfile(bundle, folder / "ca.pem")
            variables |= dict.fromkeys(_CA_VARIABLES, "/build/ca.pem")
        exports = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        (folder / "environment").write_text("".join(exports))
        yield folder


def _proxies() -> dict[str, str]:
    names = [name for lower in _PROXY_VARIABLES for name in (lower, lower.upper())]
    return {name: os.environ[name] for name in names if name in os.environ}


def _ca_bundle() -> Path | None:
    """The CA bundle that this machine's clients are told to use; None where there is none."""
    named = [_pip_configuration().get("cert"), *(os.environ.get(name) for name in _CA_VARIABLES)]
    candidates = [*(Path(name) for name in named if name), _SYSTEM_CA_BUNDLE]
    return next((path for path in candidates if path.is_file()), None)


def _pip_sources() -> dict[str, str]:
    return {key: value for key, value in _pip_configuration().items() if key in _PIP_SOURCES}


@functools.cache
def _pip_configuration() -> dict[str, str]:
    """What pip is told on this machine, by files and then by variables; on one line each."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
    )
    from_files: dict[str, str] = {}
    from_environment: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        target = from_environment if section == ":env:" else from_files
        target[key] = " ".join(str(ast.literal_eval(value)).split())
    return from_files | from_environment


def _package_folders() -> list[Path]:
    """Folders of this machine that pip is told to take packages from."""
    folders = set()
    for key, value in _pip_sources().items():
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if not path.is_absolute() or not path.exists():
                continue
            # Pages of an index link to files beside it (../../files/...).
            beside = key != "find-links" or path.is_file()
            folders.add(path.parent if beside and path.parent != Path("/") else path)
    return sorted(folders)


def main() -> None:
    try:
        engine = given_engine() or start_engine()
        print(ensure_base_image(engine), ensure_nemo_image(engine), sep="\n")
    except RigUnavailable as reason:
        raise SystemExit(f"image: {reason}") from None


if __name__ == "__main__":
    main()
