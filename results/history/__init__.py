"""One metric over many runs: a series for each case, in the order of the runs, and the steps in it."""
