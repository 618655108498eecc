"""Runs: their folders, and their configuration as it is written, read, and compared when a run is gone on with."""
