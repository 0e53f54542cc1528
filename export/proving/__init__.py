"""Proofs in further runtimes than the one that each artifact is verified in."""
