"""Everything that knows Slurm on the side of the controller.

`resources` what a benchmark's job asks for; `scripts` the batch scripts; `queue` what Slurm says
about jobs; `executor` submits the scripts and follows their jobs; `start` puts these together at a
real start. What a job itself knows about Slurm is `snakeval/job/slurm_job.py`.
"""
