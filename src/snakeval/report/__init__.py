"""One self-contained HTML page about a run: scores, failures, costs, samples, provenance."""
