"""A real start of Snakemake: checks, images, folders, scripts."""
