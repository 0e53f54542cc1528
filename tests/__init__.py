"""The tests: their folders mirror the packages that they protect."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
