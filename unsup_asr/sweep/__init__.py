"""Many runs of one configuration, side by side: the grid, the rules by which runs are given up, the page of curves."""
