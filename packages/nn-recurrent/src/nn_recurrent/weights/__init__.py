"""Weights of other libraries: the orders of their gates, and maps to and from their arrays."""

__all__: list[str] = []
