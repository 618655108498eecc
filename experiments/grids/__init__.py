"""Many runs and their table: a grid is a YAML file of rows, values and seeds; each of its cells is a ``train``."""
