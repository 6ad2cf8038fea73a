"""Runs Snakemake's jobs as processes that outlive it. A plugin of any other service has this form;
it knows nothing of benchmarks."""

# No `from __future__ import annotations`: Snakemake reads the types of the settings.

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from snakemake_executor_plugin_detached.service import Service


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """`--detached-niceness N`, or `detached-niceness: N` in a profile."""

    niceness: int = field(default=0, metadata={"help": "Niceness of jobs", "required": False})


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)


class Executor(RemoteExecutor):
    def __post_init__(self) -> None:
        self.service = Service()

    def run_job(self, job: Any) -> None:
        """Launches a job; the resource `detached_label` says whose it is."""
        label = str(job.resources.get("detached_label", ""))
        niceness = self.workflow.executor_settings.niceness
        number = self.service.create(self.format_job_exec(job), label, niceness)
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=number))

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        for info in active_jobs:
            code = self.service.exit_code(str(info.external_jobid))
            if code is None:
                yield info
            elif code == 0:
                self.report_job_success(info)
            else:
                log = self.service.log(str(info.external_jobid))
                self.report_job_error(info, msg=f"exit code {code}. ", aux_logs=[str(log)])

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        for info in active_jobs:
            self.service.stop(str(info.external_jobid))
