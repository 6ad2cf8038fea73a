"""Entry points: the arguments that rules hand to scripts, and how scripts take them."""
