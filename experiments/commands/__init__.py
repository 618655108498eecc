"""One command a module: a typed function of the module's name, for Python and for the command line alike."""
