"""Across models and time: the leaderboard, curves over checkpoints, the page over a folder."""
