"""A library on top of the nn packages: an operation, layers and an optimizer of its own.

`program` says which types a user sees, and `misuse` which mistakes a type checker finds.
"""
