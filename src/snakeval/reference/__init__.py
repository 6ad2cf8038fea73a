"""What can be looked up: benchmarks, a resolved config, the schema and tables of the docs."""
