"""The places where benchmarks and servers run, each behind the same interface."""
