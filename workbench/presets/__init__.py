"""The base trials that studies start from, by data set and scale, and what their arms choose among."""
