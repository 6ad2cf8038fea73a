"""Servers for models: what runs (`server.py`, `script.py`), and one file per place where it runs.

A place brings `deployments/<name>/server.sh` to life and says whether it is up; the script itself
is the same everywhere. The place now: `local.py`, this machine.
"""
