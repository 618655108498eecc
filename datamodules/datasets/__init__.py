"""The readers: one file per data set."""
