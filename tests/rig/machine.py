"""A machine with next to nothing on its PATH."""

_USED = """
basename bash cat cksum cp cut date df dirname env find head id ln mkdir mkfifo mktemp python3
readlink rm rmdir sed sh sleep stat tail touch uname
"""
TOOLS = tuple(_USED.split())
"""All that run.sh may use: what POSIX has, and mktemp, readlink and stat. No flock, timeout,
setsid or ps."""
