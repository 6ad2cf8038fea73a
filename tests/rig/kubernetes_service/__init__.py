"""Kubernetes on the loopback address: an API server made of the official client's own types, with a
Job controller and a kubelet that really runs what pods are told to run.

    with KubernetesService(claims={"shared": tmp_path}) as cluster:
        os.environ |= cluster.environment      # a kubeconfig of its own
        cluster.faults.add("GET", "/jobs/", status=503, times=2)

It stands for the parts that this project asks for, as the reference of the API describes them: Jobs
with a pod failure policy, Deployments, Services, pods, their logs, events, Secrets' and claims'
existence, `dryRun`,
`fieldValidation=Strict`, foreground deletion. It is no API server: admission, quotas over
resources, scheduling and watches are not there. Faults, requests and workloads are those of the
Lepton service beside it.
"""

from .server import KubernetesService

__all__ = ["KubernetesService"]
