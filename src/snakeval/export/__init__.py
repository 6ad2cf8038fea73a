"""Sending published results elsewhere; one file per destination.

A destination gets the tasks whose result it has not got yet: a receipt per task
(`exports/<destination>/<task>.json`) holds the digest of what was sent.
"""
