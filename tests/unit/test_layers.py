"""Who may import whom in `src/snakeval`. Every import counts: those inside functions too, and those
for type checkers only. There are no exceptions."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"

LAYERS = (
    ("errors", "job", "terminal", "demo_endpoint"),
    ("run_folder",),
    ("config",),
    ("plan", "harness", "runtime"),
    ("render",),
    ("executors",),
    ("start", "runs", "results"),
    ("compare", "report", "across", "watch", "export", "prefetch", "reference", "remote"),
    ("pipeline", "closing", "cli", "deploy"),
)
"""The lowest first. A layer imports from those before it; within one, imports go one way."""


def test_every_package_has_a_layer() -> None:
    assert {package_of(module) for module in imports()} == {
        name for layer in LAYERS for name in layer
    }


def test_nothing_is_imported_upward() -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    upward = [
        f"{importer} imports {imported}, which is in a layer above it"
        for importer, imported in pairs()
        if level[package_of(imported)] > level[package_of(importer)]
    ]
    assert not upward, "\n".join(upward)


def test_no_two_files_import_each_other_by_any_way() -> None:
    assert not (found := circles(imports())), "\n".join(found)


def test_no_two_packages_import_each_other_by_any_way() -> None:
    of_packages: dict[str, set[str]] = {}
    for importer, imported in pairs():
        others = of_packages.setdefault(package_of(importer), set())
        others |= {package_of(imported)} - {package_of(importer)}
    assert not (found := circles(of_packages)), "\n".join(found)


def test_the_executor_plugins_know_nothing_of_snakeval() -> None:
    for file in SOURCES.glob("snakemake_executor_plugin_*/**/*.py"):
        assert "snakeval" not in {name.partition(".")[0] for name in names_imported(file)}, file


def test_the_page_shows_the_layers() -> None:
    shown = "\n".join(" ".join(layer) for layer in reversed(LAYERS))
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert f"```\n{shown}\n```" in page, f"docs/architecture.md must show:\n\n{shown}"


def package_of(module: str) -> str:
    return module.partition(".")[0]


def pairs() -> Iterator[tuple[str, str]]:
    return ((importer, each) for importer, found in imports().items() for each in found)


@cache
def imports() -> Mapping[str, set[str]]:
    """For each module of snakeval the modules of snakeval that it imports, without `snakeval.`."""
    modules = {_name(file): file for file in (SOURCES / "snakeval").rglob("*.py")}
    del modules["snakeval"]  # the version
    found: dict[str, set[str]] = {}
    for module, file in modules.items():
        names = names_imported(file)
        found[_short(module)] = {_short(name) for name in names if name in modules}
    return found


def _short(module: str) -> str:
    return module.removeprefix("snakeval.")


def _name(file: Path) -> str:
    parts = file.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def names_imported(file: Path) -> Iterator[str]:
    """Dotted names that a file imports, relative ones resolved; of `from a import b` both `a` where
    b is no module, and `a.b`."""
    package = list(file.relative_to(SOURCES).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = SOURCES.joinpath(*base.split("."), alias.name)
                is_module = inside.is_dir() or inside.with_suffix(".py").exists()
                yield f"{base}.{alias.name}" if is_module else base


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """What is left of a graph when all that is in no circle is taken away."""
    left = {name: set(found) for name, found in graph.items()}
    while True:
        imported = {each for found in left.values() for each in found}
        inside = {name for name in left if left[name] & left.keys() and name in imported}
        if inside == left.keys():
            return [f"{name} imports {', '.join(sorted(left[name]))}" for name in left]
        left = {name: left[name] & inside for name in inside}
