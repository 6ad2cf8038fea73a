"""Runs as they are on disk: found, looked at, stopped, cleaned up."""
