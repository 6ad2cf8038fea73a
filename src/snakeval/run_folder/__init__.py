"""What lies in a run folder: every path, who drives the run, what its records say."""
