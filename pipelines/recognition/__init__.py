"""Classification: the stages of its trials, what they keep, and how that is shown."""
