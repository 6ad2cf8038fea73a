"""`kubernetes.json` of a run folder: the namespaces in which jobs of the run may be.

Written before the first job of a start, so that `status` and `kill` find the jobs of a controller
that died, whatever the config says by then.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from snakeval.job.files import read_json, write_atomically
from snakeval.run_folder.layout import RunPaths

NOTE = "kubernetes.json"
"""Of a run folder, and of a deployment's: what is in the cluster, and where."""


@dataclass(frozen=True)
class Place:
    """context: of the kubeconfig; empty: the current one."""

    context: str
    namespace: str


def _file(run: RunPaths) -> Path:
    return run.dir / NOTE


def places_of(run: RunPaths) -> list[Place]:
    """Where jobs of a run may be; none where no start was ever made here."""
    said = read_json(_file(run)).get("places")
    return [
        Place(str(each.get("context") or ""), str(each["namespace"]))
        for each in (said if isinstance(said, list) else [])
        if isinstance(each, dict) and each.get("namespace")
    ]


def note_place(run: RunPaths, place: Place) -> None:
    """Notes a place, once."""
    places = places_of(run)
    if place not in places:
        content = {"places": [asdict(each) for each in (*places, place)]}
        write_atomically(_file(run), json.dumps(content, indent=1) + "\n")
