"""The append-only record of a run: how it is chained, stored, signed, read and verified."""
