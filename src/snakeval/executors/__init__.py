"""Where benchmarks and models' servers run: each executor behind the same interface.

`base` is the interface, `registry` the executors that there are, `profile` what Snakemake's profile
says of all jobs alike, `login` a cluster's login node, seen from elsewhere, `hosted` and
`hosted_life` servers that a service runs. Each executor is a folder with the same files, as far as
it needs them:

__init__    the executor itself, which imports nothing heavy until it is asked
checks      what a start looks at before its first job
start       its part in a real start
jobs        the jobs of a run: found, stopped
server      where a model's server lives
resources   what a benchmark's job asks for
scripts     what is submitted

What one of them has beside these is its own, and says so in its first line.
"""
