"""Recognition by what generative models know: features and readouts, Bayes' rule, and images that are damaged."""
