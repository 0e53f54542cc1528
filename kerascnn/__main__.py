"""`python -m kerascnn`: see `kerascnn.cli`."""

from kerascnn.cli import main

main()
