"""What grids draw of their finished cells: a module for each kind of figure, with a function ``draw``."""
