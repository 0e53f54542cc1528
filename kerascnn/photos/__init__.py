"""From photos to what a network takes, and from its outputs to an answer."""
