"""Preparation of a sweep's files: training, checkpoints and exports. Loads no framework."""
