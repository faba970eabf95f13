"""`Optimizer`: everything about optimizers but their update rules."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, cast

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    METADATA_KEY,
    array_module,
    check_integer,
    check_number,
    current_observer,
    describe,
    device_scope,
    external,
    mark_dirty,
    raise_deferred_errors,
)

from nn_optim._group import Array, Group, State, check_parameters
from nn_optim._options import Configured, Options, argument, option
from nn_optim._tables import AddressTable, BlockTable
from nn_optim._update_rule import UpdateRule

__all__ = ["Optimizer", "check_count"]

check_count = functools.partial(check_integer, "count", minimum=0)


class Optimizer(Configured):
    r"""Updates parameters by their gradients, so that a loss decreases.

    The learning rate after :math:`t` calls of `decay_lr` is

    .. math:: \text{lr}_t = \frac{\text{lr}_0}{1 + \text{decay} \cdot t}

    as the time-based decay of Keras (its optimizers' `decay` argument, today
    ``InverseTimeDecay`` with one decay step). Nothing decays without that call.

    Parameters may come in groups with their own options; options that a group does not set are
    those of the optimizer::

        Adam([{"parameters": weights, "weight_decay": 0.1}, {"parameters": biases}], lr=0.001)

    An option of the optimizer reads as the common value of its groups, and setting it sets it in
    all of them; `groups` gives access to each.

    A custom optimizer has an update rule, and declares its options. The arguments of the rule are
    filled by name: the state arrays of the parameter, options, ``step``, and attributes of the
    class. See `nn_optim.extend`.

    Args:
        parameters: leaf Tensors that require a gradient, ``model.parameters`` for example, or
            dicts with ``"parameters"`` and options. One that occurs several times in a group
            counts once.
        lr: the learning rate, finite and >= 0.
        decay: the time-based decay of the learning rate by `decay_lr`, finite and >= 0.

    Raises:
        ValueError: if there are no parameters, if one is in two groups, is not a leaf or does not
            require a gradient (the message has its position), or if an option is out of range.
        TypeError: if a parameter is not a Tensor or an option is not a number.
    """

    _first: Iterable[Any] = argument(alias="parameters", kw_only=False)
    lr: float = option(check_number, minimum=0, kw_only=False)
    decay: float = option(check_number, minimum=0, default=0.0)

    rule: ClassVar[UpdateRule | None] = None  # without one, override `update`

    def _configure(self, first: Iterable[Any], options: Options) -> None:
        names = getattr(self.rule, "options", ())
        self._constants = {n: getattr(self, n) for n in names if n not in (*options, "step")}
        if self.rule is None and type(self).update is Optimizer.update:
            raise TypeError(f"{type(self).__name__} is abstract: it has no rule and no update")
        if isinstance(first, Tensor):
            raise TypeError("parameters: expected several Tensors, got Tensor; put it into a list")
        self._defaults, self._groups = options, list[Group]()
        several = isinstance(first, Iterable) and not isinstance(first, (str, Mapping))
        given = list(first) if several else []
        if given and isinstance(given[0], Mapping):
            for number, group in enumerate(given):
                self._add_group(f"parameters[{number}]", group)
        else:
            self._add_group("", {"parameters": given if several else first})

    def _add_group(self, name: str, group: Any) -> None:
        if not isinstance(group, Mapping):
            raise TypeError(f"{name}: expected a dict with parameters, got {type(group).__name__}")
        if "parameters" not in group:
            cure = "; 'params' is 'parameters' here" if "params" in group else ""
            raise ValueError(f"{name}: has no 'parameters', only {sorted(map(str, group))}{cure}")
        options = {**self._defaults}
        for key in (key for key in group if key != "parameters"):
            if key not in options:
                known = ", ".join(options)
                raise ValueError(f"{name}: unknown option {key!r}, expected one of {known}")
            try:
                options[key] = self._declared[key].check(group[key])
            except (TypeError, ValueError) as error:
                raise type(error)(f"{name}: {error}") from None
        where = f"{name}['parameters']" if name else "parameters"
        tensors = check_parameters(where, group["parameters"])
        owners = {id(t): n for n, other in enumerate(self._groups) for t in other.parameters}
        for position, tensor in enumerate(tensors):
            if tensor.dtype.name == "bfloat16":
                raise TypeError(
                    f"{where}[{position}]: is bfloat16, expected float32; keep parameters in "
                    "float32 and compute inside nn_tensor.autocast('bfloat16')"
                )
            if id(tensor) in owners:
                shared = f"{describe(tensor)} is in groups[{owners[id(tensor)]}] too"
                raise ValueError(f"{where}[{position}]: {shared}, expected each in one group")
        self.check_options(options)
        states = [State(tensor, p) for p, tensor in enumerate(tensors, len(self.parameters))]
        self._groups.append(Group(states, options, self._declared))

    def _option(self, name: str) -> Any:
        values = [group[name] for group in self._groups]
        if values != values[:1] * len(values):
            cure = f"read it from one, as groups[0][{name!r}]"
            raise ValueError(f"{name}: is {values} in the groups; {cure}")
        return values[0]

    def _set_option(self, name: str, value: Any) -> None:
        for group in self._groups:
            group[name] = value

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The parameters of all groups, in order and without duplicates."""
        return tuple(parameter for group in self._groups for parameter in group.parameters)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of parameters, with their options."""
        return tuple(self._groups)

    def add_group(self, group: Mapping[str, Any]) -> None:
        """Add a group: a dict with ``"parameters"`` and options, as in the constructor.

        Raises:
            ValueError: if it has no parameters, one that the optimizer has already, or an option
                that is unknown or out of range; then nothing was added.
            TypeError: if it is not a dict, or contains anything but Tensors and numbers.

        >>> from nn_optim import SGD
        >>> from nn_tensor import zeros
        >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=0.1)
        >>> optimizer.add_group({"parameters": [zeros(3, requires_grad=True)], "lr": 0.5})
        >>> [group["lr"] for group in optimizer.groups]
        [0.1, 0.5]
        """
        self._add_group("group", group)

    def decay_lr(self) -> None:
        """Lower the learning rate of every group by one more step of its decay.

        >>> from nn_optim import SGD
        >>> from nn_tensor import zeros
        >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0, decay=0.5)
        >>> for _ in range(2):
        ...     optimizer.decay_lr()
        >>> optimizer.lr
        0.5
        """
        external(self._decay_lr, snapshot=self._snapshot)

    def _decay_lr(self) -> None:
        for group in self._groups:
            group._decays += 1

    def _snapshot(self) -> Callable[[], None]:
        """Remember parameters, states and options, and return a function that restores them."""
        restores = [group.snapshot() for group in self._groups]

        def restore() -> None:
            for function in restores:
                function()

        return restore

    def zero_grad(self) -> None:
        """Clear the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def step(self) -> None:
        """Update every parameter that has a gradient, in place.

        If no parameter has a gradient, nothing changes and the logger ``nn_optim`` warns once. It
        also warns when the first element of a parameter on the CPU has become NaN.

        Raises:
            ValueError: if a parameter cannot be updated (its array is read-only, or has another
                shape than in earlier steps); then none was updated.
            IndexError: if the device has found an index out of range.
        """
        if current_observer() is None:
            self._step()
        else:
            external(self._step, snapshot=self._snapshot)

    def _step(self) -> None:
        raise_deferred_errors()
        # a rule may update several parameters at once, `update` of a subclass one after the other
        rule = self.rule if type(self).update is Optimizer.update else None
        ready = []
        for group in self._groups:
            options = group.current_options()
            initial = self.init_state(options)
            ready.append((self._batches(group, initial, rule), options))
        array: Array = None  # the last parameter
        for batches, options in ready:
            for (loop, _, step), states in batches.items():
                array = states[0].array
                if rule is None or states[0].batch is None:
                    states[0].apply(self.update, options)
                elif type(array) is not np.ndarray:
                    self._update_on_device(states, options)
                elif loop is not None:
                    table = AddressTable.of(states, rule)
                    table.apply(loop, self._values(options, step + 1), states)
                else:
                    BlockTable.of(states, rule).apply(self._values(options, step + 1), states)
        if array is None:
            cure = "call backward() of a loss of the parameters that the optimizer was given"
            self._say("step: no parameter has a gradient, so nothing was changed; " + cure)
        elif type(array) is np.ndarray and array.size and math.isnan(array.item(0)):
            cure = "compute a step inside nn_tensor.detect_anomaly() to find the operation"
            self._say("step: a parameter became NaN; " + cure)

    def _batches(
        self, group: Group, initial: dict[str, float], rule: UpdateRule | None
    ) -> dict[Any, list[State]]:
        """Return the parameters that have a gradient, those together that are updated together.

        The keys are a compiled loop or None, what else is common to them, and their step.
        """
        states = group._states
        table = states[0].table
        if rule is not None and table is not None and table.fits(states, initial):
            loop = rule.loop_for_several(states[0].looped, initial)
            if (loop is not None) == (type(table) is AddressTable):
                return {(loop, None, states[0].step): states}
        loops: dict[Any, Any] = {None: None}
        batches: dict[Any, list[State]] = {}
        for state in states:
            if state.parameter.has_grad:
                state.prepare(initial)
                if not getattr(state.array.flags, "writeable", True):  # CuPy has no such flag
                    raise ValueError(f"parameters[{state.position}]: its array is read-only")
                if state.looped not in loops:
                    loops[state.looped] = rule and rule.loop_for_several(state.looped, initial)
                loop, batch = loops[state.looped], None
                if loop is None:
                    together = rule is not None and state.batch is not None
                    batch = state.batch if together else state.position
                batches.setdefault((loop, batch, state.step), []).append(state)
        return batches

    def _say(self, message: str) -> None:
        """Log a warning, each once in the life of an optimizer."""
        said = vars(self).setdefault("_said", set())
        if message not in said:
            import logging  # only when there is something to say: it takes milliseconds

            said.add(message)
            logging.getLogger("nn_optim").warning("%s.%s", type(self).__name__, message)

    def init_state(self, options: Options) -> dict[str, float]:
        """Return the names of the state arrays, each with its initial value.

        By default they are those of the rule, filled with 0. One that is left out is not kept.
        """
        return {} if self.rule is None else dict.fromkeys(self.rule.state, 0.0)

    def update(self, parameter: Array, gradient: Array, state: State, options: Options) -> None:
        """Update one parameter in place, by default with the update rule.

        Args:
            parameter: a C-contiguous array, to be written into; float16 comes as float32.
            gradient: an array of the same shape, dtype and device, not to be written into.
            state: the arrays of this parameter, and its count of steps.
            options: the options by name; ``lr`` is the decayed learning rate.
        """
        rule = cast(UpdateRule, self.rule)
        values = self._values(options, state.step)
        arrays = [parameter, gradient, *map(state.get, rule.state)]
        flat = [a if a is None or a.ndim == 1 else a.reshape(-1) for a in arrays]
        rule(array_module(parameter), *flat, *values)

    def _values(self, options: Options, step: int) -> list[Any]:
        """Return the options of the rule, in its order."""
        values = {**self._constants, **options, "step": step}
        return [values[name] for name in cast(UpdateRule, self.rule).options]

    def _update_on_device(self, states: list[State], options: Options) -> None:
        """Update parameters that are on one CUDA device and in the same step, with one launch."""
        rule = cast(UpdateRule, self.rule)
        for state in states:
            state.step += 1
        with device_scope(states[0].array):
            values = self._values(options, states[0].step)
            tensors = [state.arrays(rule.state) for state in states]
            rule.several(array_module(states[0].array), tensors, *values)
        for state in states:
            mark_dirty(state.array)

    def state_dict(self) -> dict[str, Any]:
        """Return the options and the state arrays, without the parameters, as a flat mapping.

        The keys are ``groups.<group>.<option>``, ``groups.<group>.decays``, and for each parameter
        ``<position>.step`` and ``<position>.<array>``, the positions counted through all groups;
        the values are copies on the host. ``__metadata__`` names the class and the number of
        parameters in each group. With the same parameters, training continues from it bit for bit.

        >>> from nn_optim import SGD
        >>> from nn_tensor import zeros
        >>> list(SGD([zeros(2, requires_grad=True)], momentum=0.9).state_dict())[:3]
        ['groups.0.lr', 'groups.0.decay', 'groups.0.momentum']
        """
        found: dict[str, Any] = {}
        for number, group in enumerate(self._groups):
            for name, value in {**group._options, "decays": group._decays}.items():
                found[f"groups.{number}.{name}"] = np.array(value)
        for group in self._groups:
            for state in group._states:
                found[f"{state.position}.step"] = np.array(state.step)
                if state.step:
                    state.prepare(self.init_state(group.current_options()))
                    for name, array in state.items():
                        found[f"{state.position}.{name}"] = np.array(Tensor(array).numpy())
        sizes = [len(group.parameters) for group in self._groups]
        return {**found, METADATA_KEY: {**self._metadata(), "groups": sizes}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the options and arrays that `state_dict` returned.

        Arrays take the dtype and the device of their parameters.

        Raises:
            ValueError: listing every key that is missing, unexpected, of another shape, or out
                of range; then nothing was changed.
            TypeError: if `state` is not a mapping.
        """
        prefixes = [f"groups.{number}." for number in range(len(self._groups))]
        renamed = {old: new for p in prefixes for old, new in self._old_keys(p).items()}
        added = {key: value for p in prefixes for key, value in self._new_options(p).items()}
        reader = self._reader(state, renamed, added)
        sizes = [len(group.parameters) for group in self._groups]
        saved = reader.metadata.get("groups", sizes)
        if saved != sizes:
            reader.problems.append(f"expected groups of {sizes} parameters, got {saved}")
        loads: list[Callable[[], None]] = []
        for prefix, group in zip(prefixes, self._groups, strict=True):
            options = self._read_options(reader, prefix, group._options)
            decays = reader.value(f"{prefix}decays", check_count, 0)
            loads.append(functools.partial(vars(group).update, _options=options, _decays=decays))
            for kept in group._states:
                step = reader.value(f"{kept.position}.step", check_count, 0)
                keys = {n: f"{kept.position}.{n}" for n in self.init_state(options) if step}
                shape, dtype = kept.parameter.shape, kept.compute_dtype()
                arrays = {name: reader.array(key, shape, dtype) for name, key in keys.items()}
                loads.append(functools.partial(kept.load, step, arrays))
        reader.finish()
        for load in loads:
            load()

    def __repr__(self) -> str:
        count, parts = len(self._groups), []
        for name in self._declared:
            values = [group[name] for group in self._groups]
            parts.append(f"{name}={values[0] if values == values[:1] * count else values}")
        sizes = f"{len(self.parameters)} parameters" + f" in {count} groups" * (count > 1)
        return f"{type(self).__name__}({', '.join([sizes, *parts])})"
