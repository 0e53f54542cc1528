"""How the layers of each family are named in the checkpoints of other packages."""
