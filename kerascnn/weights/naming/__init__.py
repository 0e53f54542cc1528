"""How the layers of each family are named in the checkpoints of other packages.

One module a family, of the family's name. Its `__all__` lists its namings: functions from our layer names to theirs.
Beside them a module may have

    HEAD      the layers that include_top=False leaves out, where they are not `predictions` alone
    OPTIONS   by naming, the builder options that its networks have, where their files do not show it
    EPSILON   by naming, the epsilon of batch normalizations, where it is not torch's
    LEFT_OUT  by naming, prefixes of arrays that a model need not use
"""
