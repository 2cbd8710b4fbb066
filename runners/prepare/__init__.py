"""From what the user named to files that can be measured: training, checkpoints and exports. Loads no framework."""
