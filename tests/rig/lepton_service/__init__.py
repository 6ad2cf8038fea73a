"""Lepton on the loopback address: a service made of the SDK's own types that really runs things.

    with LeptonService(volumes={"node-nfs:fs1": tmp_path}) as lepton:
        os.environ |= lepton.environment       # what the SDK reads
        lepton.faults.add("GET", "/jobs/", status=503, times=2)

A body that the SDK's types do not know, unknown fields included, is answered with status 400. What
a job or an endpoint is told to run is run: in a container where there is an engine, else as a
process. One module per family of routes: `jobs`, `deployments`, `workspace`.
"""

from .server import LeptonService
from .wire import Refused, Request, Response, Route, dumped, parse

__all__ = ["LeptonService", "Refused", "Request", "Response", "Route", "dumped", "parse"]
