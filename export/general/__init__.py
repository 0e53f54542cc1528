"""Networks that are not one image in and one answer out: several inputs or outputs, vectors, sequences, whole numbers.

They take the same request and become the same formats; they are traced, sampled and compared by name.
"""
