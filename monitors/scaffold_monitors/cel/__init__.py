"""Rules in CEL, for `rules` and `policy`: read, type-checked and bounded once, then evaluated for each call."""
