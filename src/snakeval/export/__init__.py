"""Sending published results elsewhere; one file per destination.

`destinations` decides what a destination has not got yet, and calls it; `items` is what is sent,
`files` which files may go with it, `receipts` what was sent before.
"""
