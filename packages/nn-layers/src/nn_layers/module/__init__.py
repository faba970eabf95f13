"""What layers and models are made of: the base classes, the walk, state dicts, errors, summary."""

__all__: list[str] = []
