"""Old name of a module that stands in scripts of existing run folders."""
