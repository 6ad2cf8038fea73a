"""Real parts for the tests: engines, images, a scripted endpoint, a benchmark of our own."""
