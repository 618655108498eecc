"""Where the cells of a grid run: on this machine, as jobs of Slurm, or picked by agents of Weights & Biases."""
