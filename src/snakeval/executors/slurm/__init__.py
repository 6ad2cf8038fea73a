"""Everything that knows Slurm on the side of the controller.

`resources` what a benchmark's job asks for; `scripts` the batch scripts; `queue` what Slurm says
about jobs; `nodes` what a job on a node sees; `submit` and `executor` submit the scripts and follow
their jobs; `start` puts these together at a real start. What a job itself knows about Slurm is
`snakeval/job/slurm_job.py`.
"""
