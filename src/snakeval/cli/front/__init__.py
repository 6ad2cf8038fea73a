"""`snakeval`, the short way to type what the rules do; `snakemake` stays the main one."""
