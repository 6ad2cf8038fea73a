"""What a run has come to: tables of scores, single samples, what it has cost."""
