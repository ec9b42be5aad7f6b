"""Training from nothing to the shipped weights: a plan of stages that can be cut anywhere."""
