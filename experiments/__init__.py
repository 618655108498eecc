"""What one does with the framework: the command line, sweeps, tables, reports."""
