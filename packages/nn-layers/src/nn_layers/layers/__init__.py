"""The layers by kind, which `nn_layers` exports; their operations are in `nn_layers.ops`."""

__all__: list[str] = []
