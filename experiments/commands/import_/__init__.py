"""``import-weights``: a folder ending in an underscore, as Python takes ``import`` for a statement."""
