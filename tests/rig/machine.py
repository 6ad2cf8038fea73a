"""A machine with next to nothing on its PATH."""

_USED = "bash dirname env python3 sh sleep uname"
TOOLS = tuple(_USED.split())
"""All that run.sh and its keeper may use: no flock, timeout, setsid, ps, and no tools of GNU."""
