"""How fast things are: ``bench-NAME`` for each module here."""
