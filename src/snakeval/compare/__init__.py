"""Two runs on the same questions: pairs of samples, tests of their differences, what flipped."""
