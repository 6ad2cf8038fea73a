"""Measurements, side by side in one run; every script prints ratios (`make bench`)."""
