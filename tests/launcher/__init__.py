"""Configs of the NeMo Evaluator Launcher 0.2.6: what it makes of them, and what we make of them."""
