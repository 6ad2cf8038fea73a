"""Benchmarks as jobs of Lepton: what they ask for, how they are followed, how they are stopped.

The executor plugin (`snakemake_executor_plugin_lepton`) knows no benchmarks; what it is told about
them is here.
"""
