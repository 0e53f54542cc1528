"""Every variant against an independent implementation: `python -m tests.parity` (needs the extra `parity`)."""
