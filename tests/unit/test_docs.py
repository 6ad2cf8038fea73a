"""The pages say what is there: links, folders, targets and keys of `--config` exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakeval.config.overrides import RESERVED

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "profiles/*.md", "config/**/*.md")
    for page in ROOT.glob(pattern)
)
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
RULES = re.findall(
    r"^rule (\w+):",
    "\n".join(file.read_text() for file in [ROOT / "Snakefile", *ROOT.glob("rules/*.smk")]),
    re.MULTILINE,
)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def calls() -> Iterator[tuple[str, list[str]]]:
    """Every `snakemake ...` that a page shows, with its page."""
    for page in PAGES:
        for line in re.findall(r"(?:^|[`/])snakemake +([^`#\n]+)", page.read_text(), re.MULTILINE):
            yield page.name, line.split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        file, _, anchor = link.partition("#")
        if not link.startswith(("http:", "https:")):
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_architecture_names_every_package_and_module_once() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("| in `src/snakeval/` |")[2].partition("\n\n")[0]
    named = re.findall(r"`(\w+(?:/|\.py))`", "\n".join(re.findall(r"^\|([^|]*)", table, re.M)))
    there = [
        f"{entry.name}/" if entry.is_dir() else entry.name
        for entry in (ROOT / "src" / "snakeval").iterdir()
        if not entry.name.startswith("__")
    ]
    assert sorted(named) == sorted(there)


def test_targets_and_keys_in_commands_exist() -> None:
    seen = set()
    for page, words in calls():
        target = words[0]
        if re.fullmatch(r"[a-z_]+", target):
            assert target in RULES, (page, words)
            seen.add(target)
        given = words[words.index("--config") + 1 :] if "--config" in words else []
        for key in (word.partition("=")[0] for word in given if "=" in word):
            assert key.lstrip("'") in RESERVED or key.startswith(("'target", "'set")), (page, words)
    assert len(seen) > 15  # the pattern still finds them


def test_every_target_is_shown_to_users() -> None:
    shown = "\n".join(page.read_text() for page in PAGES)
    of_pipeline = {"all", "deploy", "evaluate", "results", "auto_export"}
    for rule in set(RULES) - of_pipeline:
        assert re.search(rf"\b{rule}\b", shown), rule


def test_readme_lists_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in readme, page.name
