"""Servers for models: what runs (`server.py`, `script.py`), and one file per place where it runs.

A place brings `deployments/<name>/server.sh` to life and ends it; the script itself is the same
everywhere. `place.py` says what a place must do, and which one a start takes.
"""
