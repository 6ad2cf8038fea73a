"""The gateway: a proxy of ours between a harness and its endpoints, one per attempt.

It forwards every request unchanged, and keeps a ledger of them and the answers. `completion.py` has
the one rule of what an answer is; `accounts.py` reads a ledger; `service.py` is what the keeper has
as a thread. Only it, `server.py` and `upstream.py` need more than the standard library: aiohttp.
Python 3.9 or newer, since run folders hold a copy.
"""
