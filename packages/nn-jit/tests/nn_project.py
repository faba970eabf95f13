"""A module of a user, whose name begins like those of the framework."""

__all__ = ["FACTOR", "Base", "apply"]

FACTOR = 2.0


class Base:
    factor = 2.0


def apply(x):
    return x * FACTOR
