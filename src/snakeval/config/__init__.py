"""The config file: its typed model, and how files and overrides become one."""
