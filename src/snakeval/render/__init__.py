"""Scripts: a task's `run.sh`, a server's `server.sh`."""
