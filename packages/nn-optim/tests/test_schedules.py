"""Schedules: PyTorch's numbers, resuming, composition, and what is refused."""

import math
import pickle

import numpy as np
import pytest
from nn_optim import (
    SGD,
    Adagrad,
    Adam,
    ChainedSchedules,
    CosineSchedule,
    ExponentialSchedule,
    InverseSquareRoot,
    LinearWarmup,
    MultiStepSchedule,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    SequentialSchedules,
    StepSchedule,
)
from nn_optim.extend import option
from nn_tensor import Tensor, ones, zeros
from nn_tensor.extend import check_integer

BASES = (0.5, 0.02)
STEPS = 60


def make(kind=SGD, **options):
    groups = [{"parameters": zeros(2, requires_grad=True), "lr": base} for base in BASES]
    return kind(groups, **options)


def rates(optimizer):
    return [group["lr"] for group in optimizer.groups]


def trace(schedule, steps=STEPS):
    found = [rates(schedule.optimizer)]
    for _ in range(steps):
        schedule.step()
        found.append(rates(schedule.optimizer))
    return np.array(found)


# ours, and the name, arguments and options of PyTorch's
LIKE_TORCH = {
    "step": (lambda o: StepSchedule(o, 7, gamma=0.5), "StepLR", (7, 0.5)),
    "multi": (
        lambda o: MultiStepSchedule(o, [3, 4, 30], gamma=0.3),
        "MultiStepLR",
        ([3, 4, 30], 0.3),
    ),
    "exponential": (lambda o: ExponentialSchedule(o, 0.9), "ExponentialLR", (0.9,)),
    "growing": (lambda o: ExponentialSchedule(o, 1.1), "ExponentialLR", (1.1,)),
    "cosine": (lambda o: CosineSchedule(o, 25, min_lr=0.01), "CosineAnnealingLR", (25, 0.01)),
    "restarts": (
        lambda o: CosineSchedule(o, 7, min_lr=0.01, restarts=True),
        "CosineAnnealingWarmRestarts",
        (7, 1, 0.01),
    ),
    "growing restarts": (
        lambda o: CosineSchedule(o, 5, restarts=True, T_mult=2),
        "CosineAnnealingWarmRestarts",
        (5, 2),
    ),
    "warmup": (lambda o: LinearWarmup(o, 9, start_factor=0.1), "LinearLR", (0.1, 1.0, 9)),
}


@pytest.mark.parametrize("name", LIKE_TORCH)
def test_equals_torch(name):
    torch = pytest.importorskip("torch")
    build, theirs, arguments = LIKE_TORCH[name]
    groups = [{"params": [torch.zeros(2, requires_grad=True)], "lr": base} for base in BASES]
    other = torch.optim.SGD(groups)
    schedule = getattr(torch.optim.lr_scheduler, theirs)(other, *arguments)
    assert_as_torch(trace(build(make())), other, schedule)


def assert_as_torch(found, other, schedule):
    expected = []
    for _ in range(len(found)):
        expected.append([group["lr"] for group in other.param_groups])
        other.step()
        schedule.step()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("rise", [0.3, 0.25])
def test_one_cycle_equals_torch(linear, rise):
    torch = pytest.importorskip("torch")
    groups = [{"params": [torch.zeros(2, requires_grad=True)]} for _ in BASES]
    other = torch.optim.SGD(groups, lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        other,
        max_lr=list(BASES),
        total_steps=STEPS,
        pct_start=rise,
        anneal_strategy="linear" if linear else "cos",
        cycle_momentum=False,
    )
    ours = OneCycle(make(), STEPS, pct_start=rise, linear=linear)
    assert_as_torch(trace(ours, STEPS - 1), other, schedule)
    last = rates(ours.optimizer)
    ours.step()
    assert rates(ours.optimizer) == last


def test_composition_equals_torch():
    torch = pytest.importorskip("torch")
    lr_scheduler = torch.optim.lr_scheduler
    for composite in ("ChainedScheduler", "SequentialLR"):
        groups = [{"params": [torch.zeros(2, requires_grad=True)], "lr": base} for base in BASES]
        other = torch.optim.SGD(groups)
        theirs = [
            lr_scheduler.LinearLR(other, 0.25, 1.0, 8),
            lr_scheduler.ExponentialLR(other, 0.95),
            lr_scheduler.StepLR(other, 5, 0.5),
        ]
        optimizer = make()
        ours = [
            LinearWarmup(optimizer, 8, start_factor=0.25),
            ExponentialSchedule(optimizer, 0.95),
            StepSchedule(optimizer, 5, gamma=0.5),
        ]
        if composite == "ChainedScheduler":
            assert_as_torch(
                trace(ChainedSchedules(ours)), other, lr_scheduler.ChainedScheduler(theirs)
            )
        else:
            found = trace(SequentialSchedules(ours, [8, 30]))
            # PyTorch's counts the steps of the second and third from the construction of all
            schedule = lr_scheduler.SequentialLR(other, theirs, [8, 30])
            assert_as_torch(found, other, schedule)


def test_inverse_square_root_is_equation_3():
    d_model, warmup = 64, 20
    optimizer = SGD([zeros(2, requires_grad=True)], lr=(d_model * warmup) ** -0.5)
    found = trace(InverseSquareRoot(optimizer, warmup))[:, 0]
    n = np.arange(1, STEPS + 2)
    np.testing.assert_allclose(
        found, d_model**-0.5 * np.minimum(n**-0.5, n * warmup**-1.5), rtol=1e-14
    )


def test_warmup_from_nothing():
    found = trace(LinearWarmup(make(), 4, start_factor=0.0), 5)
    np.testing.assert_allclose(found[:, 0], 0.5 * np.array([0, 0.25, 0.5, 0.75, 1, 1]))


MEASURES = [5, 4, 4, 3.9999, 4, 4.2, 4, 4, 3, 3, 3, 3, 3, math.nan, math.inf, 2.9, 9, 9, 9, 9, 9]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_plateau_equals_torch(sign, relative, cooldown):
    torch = pytest.importorskip("torch")
    groups = [{"params": [torch.zeros(2, requires_grad=True)], "lr": base} for base in BASES]
    other = torch.optim.SGD(groups)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        other,
        mode="min" if sign > 0 else "max",
        factor=0.5,
        patience=1,
        threshold=1e-3,
        threshold_mode="rel" if relative else "abs",
        cooldown=cooldown,
        min_lr=0.01,
    )
    optimizer = make()
    ours = ReduceOnPlateau(
        optimizer,
        gamma=0.5,
        patience=1,
        threshold=1e-3,
        relative=relative,
        cooldown=cooldown,
        min_lr=0.01,
        maximize=sign < 0,
    )
    for value in MEASURES:
        # larger is better: as much above 10 as it was below
        value = value if sign > 0 else 10 - value
        ours.step(value)
        theirs.step(value)
        assert rates(optimizer) == pytest.approx([g["lr"] for g in other.param_groups])
        assert ours.best == theirs.best


def test_plateau_with_a_negative_best_asks_for_better():
    schedule = ReduceOnPlateau(make(), threshold=0.1)
    schedule.step(-1.0)
    schedule.step(-1.05)
    assert schedule.best == -1.0
    schedule.step(Tensor([-1.2]))
    assert schedule.best == pytest.approx(-1.2)


# Resuming

ALL = {
    **{name: build for name, (build, _, _) in LIKE_TORCH.items()},
    "one cycle": lambda o: OneCycle(o, 40),
    "inverse root": lambda o: InverseSquareRoot(o, 13),
    "chained": lambda o: ChainedSchedules([LinearWarmup(o), ExponentialSchedule(o, 0.9)]),
    "sequential": lambda o: SequentialSchedules(
        [LinearWarmup(o, 4), ChainedSchedules([StepSchedule(o, 3), ExponentialSchedule(o, 0.9)])],
        [4],
    ),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("order", ["optimizer first", "schedule first", "built late"])
def test_resuming(name, order):
    whole = trace(ALL[name](make(Adam)), 30)
    first = ALL[name](make(Adam))
    trace(first, 11)
    saved = pickle.loads(pickle.dumps((first.optimizer.state_dict(), first.state_dict())))
    assert all(type(v) is np.ndarray for k, v in saved[1].items() if k != "__metadata__")
    trace(first, 3)  # what is saved must not follow

    optimizer = make(Adam)
    if order == "built late":
        optimizer.load_state_dict(saved[0])
    schedule = ALL[name](optimizer)
    if order == "optimizer first":
        optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    if order == "schedule first":
        optimizer.load_state_dict(saved[0])
    np.testing.assert_array_equal(trace(schedule, 19), whole[11:])
    assert schedule.steps == 30


def test_plateau_resumes():
    whole, first = (ReduceOnPlateau(make(), patience=1, cooldown=1) for _ in range(2))
    for value in MEASURES:
        whole.step(value)
    for value in MEASURES[:9]:
        first.step(value)
    optimizer = make()
    second = ReduceOnPlateau(optimizer, patience=5)
    optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert second.patience == 1
    for value in MEASURES[9:]:
        second.step(value)
    assert rates(optimizer) == rates(whole.optimizer)
    assert repr(second) == repr(whole)
    fresh = ReduceOnPlateau(make())
    fresh.load_state_dict(ReduceOnPlateau(make()).state_dict())
    assert fresh.best is None


def test_options_are_loaded():
    saved = MultiStepSchedule(make(), [2, 5], gamma=0.5).state_dict()
    schedule = MultiStepSchedule(make(), [9])
    schedule.load_state_dict(saved)
    assert (schedule.milestones, schedule.gamma) == ((2, 5), 0.5)
    assert repr(schedule) == "MultiStepSchedule(milestones=(2, 5), gamma=0.5)"


def mixture(optimizer, period=5):
    parts = [LinearWarmup(optimizer, 3), CosineSchedule(optimizer, period)]
    return SequentialSchedules(parts, [3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("steps"), "missing: steps"),
        (lambda s: s.pop("1.period"), r"missing: 1\.period"),
        (lambda s: s.pop("groups.1.base"), r"missing: groups\.1\.base"),
        (lambda s: s.update({"groups.2.base": np.array(1.0)}), r"unexpected: groups\.2\.base"),
        (lambda s: s.update({"1.period": np.array(0)}), r"1\.period: period: .* >= 1, got 0"),
        (
            lambda s: s.update({"1.period": np.array(2.5)}),
            r"period: expected an integer .* got 2\.5",
        ),
        (lambda s: s.update({"1.restarts": np.array(3)}), "restarts: expected True or False"),
        (lambda s: s.update({"1.T_mult": np.array(2)}), r"1\.T_mult: needs restarts=True"),
        (
            lambda s: s.update({"milestones": np.array([5, 3])}),
            "milestones: expected strictly increasing integers",
        ),
        (lambda s: s.update({"steps": np.array(-1)}), "steps: .*expected an integer >= 0, got -1"),
        (lambda s: s.update({"groups.0.base": np.array(np.nan)}), r"groups\.0\.base: .* got nan"),
        (
            lambda s: s.update({"0.start_factor": np.array([1.0])}),
            "0.start_factor: .* expected a finite number",
        ),
        (lambda s: s.update({"0.start_factor": np.array("x")}), "0.start_factor: expected numbers"),
        (
            lambda s: s["__metadata__"].update({"class": "StepSchedule"}),
            "belongs to StepSchedule, .* not to SequentialSchedules, LinearWarmup",
        ),
        (
            lambda s: s["__metadata__"]["schedules"][0].update({"class": "X"}),
            "belongs to SequentialSchedules, X, CosineSchedule, not to SequentialSchedules, Lin",
        ),
        (
            lambda s: s["__metadata__"].update({"schedules": 3}),
            "belongs to SequentialSchedules, not to SequentialSchedules, LinearWarmup",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    source = mixture(make(), 9)
    trace(source, 2)
    state = source.state_dict()
    change(state)
    target = mixture(make())
    trace(target, 4)
    before, lr = target.state_dict(), rates(target.optimizer)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        target.load_state_dict(state)
    after = target.state_dict()
    assert {k: v if k == "__metadata__" else v.tolist() for k, v in after.items()} == {
        k: v if k == "__metadata__" else v.tolist() for k, v in before.items()
    }
    assert rates(target.optimizer) == lr


def test_a_state_whose_rates_are_none_changes_nothing():
    source = ExponentialSchedule(make(), 1.0)
    state = source.state_dict() | {"gamma": np.array(1e300), "steps": np.array(5)}
    with pytest.raises(ValueError, match=r"lr: .* got inf"):
        source.load_state_dict(state)
    assert (source.gamma, source.steps, rates(source.optimizer)) == (1.0, 0, list(BASES))


# Optimizers, bases and rules of one's own


def test_steps_take_the_scheduled_rate(device):
    x = Tensor([1.0], device=device, requires_grad=True)
    optimizer = SGD([x], lr=0.5)
    schedule = StepSchedule(optimizer, 1, gamma=0.5)
    for _ in range(2):
        x.grad = ones(1, device=device)
        optimizer.step()
        schedule.step()
    np.testing.assert_array_equal(x.numpy(), [1 - 0.5 - 0.25])


def test_the_base_is_the_rate_before_the_first_schedule():
    optimizer = make()
    first = LinearWarmup(optimizer, 2, start_factor=0.5)
    assert rates(optimizer) == [0.25, 0.01]
    first.step()
    second = ExponentialSchedule(optimizer, 0.5)
    assert first.bases == second.bases == BASES
    optimizer.lr = 3.0  # by hand: what comes next starts from there
    assert ExponentialSchedule(optimizer, 0.5).bases == (3.0, 3.0)


def test_groups_that_come_later_are_scheduled_too():
    optimizer = make()
    schedule = ExponentialSchedule(optimizer, 0.5)
    schedule.step()
    optimizer.add_group({"parameters": zeros(3, requires_grad=True), "lr": 8.0})
    schedule.step()
    assert rates(optimizer) == [0.125, 0.005, 2.0]
    assert schedule.bases == (*BASES, 8.0)


def test_a_failed_step_changes_nothing():
    schedule = ExponentialSchedule(make(), 1e200)
    schedule.step()
    before = rates(schedule.optimizer)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"lr: .* got inf"):
            schedule.step()
    assert rates(schedule.optimizer) == before
    assert schedule.steps == 1


def test_a_custom_schedule():
    class Linear(Schedule):
        end: int = option(check_integer, minimum=1, kw_only=False)

        def rate(self, base, step):
            return base * max(0.0, 1.0 - step / self.end)

    schedule = Linear(make(), 4)
    np.testing.assert_allclose(trace(schedule, 5)[:, 0], [0.5, 0.375, 0.25, 0.125, 0.0, 0.0])
    schedule.end = 10
    with pytest.raises(ValueError, match="end: expected an integer >= 1, got 0"):
        schedule.end = 0
    assert next(iter(schedule.state_dict())) == "end"
    with pytest.raises(TypeError, match="Linear: got an unexpected keyword argument 'begin'"):
        Linear(make(), 4, begin=1)
    assert isinstance(schedule, Schedule)
    assert isinstance(ReduceOnPlateau(make()), Schedule)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda o: StepSchedule([1], 2), TypeError, r"optimizer: expected an Optimizer, got \[1\]"),
        (lambda o: StepSchedule(o, 0), ValueError, "step_size: .* >= 1, got 0"),
        (lambda o: StepSchedule(o, 2.0), TypeError, r"step_size: expected an integer .* got 2\.0"),
        (lambda o: StepSchedule(o, True), TypeError, "step_size: .* got True"),
        (lambda o: StepSchedule(o, 2, gamma=-0.5), ValueError, "gamma: .* got -0.5"),
        (lambda o: ExponentialSchedule(o, math.nan), ValueError, "gamma: .* got nan"),
        (lambda o: ExponentialSchedule(o, 10**400), ValueError, "gamma: .* got inf"),
        (lambda o: ExponentialSchedule(o, -(10**400)), ValueError, "gamma: .* got -inf"),
        (lambda o: MultiStepSchedule(o, [3, 3]), ValueError, r"milestones: .* got \[3, 3\]"),
        (lambda o: MultiStepSchedule(o, [0]), ValueError, "milestones: .* >= 1, got 0"),
        (
            lambda o: MultiStepSchedule(o, 5),
            TypeError,
            "milestones: expected strictly increasing integers >= 1, got 5",
        ),
        (lambda o: MultiStepSchedule(o, ["a"]), TypeError, "milestones: .* got 'a'"),
        (lambda o: CosineSchedule(o, 5, min_lr=math.inf), ValueError, "min_lr: .* got inf"),
        (lambda o: CosineSchedule(o, 5, T_mult=2), ValueError, "T_mult: needs restarts=True"),
        (lambda o: CosineSchedule(o, 5, restarts=1), TypeError, "restarts: .* got 1"),
        (lambda o: LinearWarmup(o, -1), ValueError, "warmup: .* got -1"),
        (lambda o: LinearWarmup(o, 5, start_factor=-1.0), ValueError, "start_factor: .* got -1"),
        (lambda o: OneCycle(o, 1), ValueError, "total_steps: .* >= 2, got 1"),
        (
            lambda o: OneCycle(o, 3, pct_start=0.3),
            ValueError,
            "pct_start: expected more than one step of 3",
        ),
        (lambda o: OneCycle(o, 9, pct_start=1.0), ValueError, "pct_start: .* got 1"),
        (lambda o: OneCycle(o, 9, div_factor=0.5), ValueError, "div_factor: .* >= 1, got 0.5"),
        (lambda o: InverseSquareRoot(o, 0), ValueError, "warmup: .* got 0"),
        (lambda o: ReduceOnPlateau(o, gamma=1.0), ValueError, "gamma: .* < 1, got 1"),
        (lambda o: ReduceOnPlateau(o, patience=-1), ValueError, "patience: .* got -1"),
        (lambda o: ReduceOnPlateau(o).step("3"), TypeError, "value: expected a number .* got '3'"),
        (lambda o: ReduceOnPlateau(o).step(ones(2)), ValueError, "value: expected one number"),
        (lambda o: ChainedSchedules([]), ValueError, "schedules: expected at least one"),
        (lambda o: ChainedSchedules(5), TypeError, "schedules: expected several in a list, got 5"),
        (lambda o: ChainedSchedules([5]), TypeError, r"schedules\[0\]: expected a Schedule.* 5"),
        (
            lambda o: ChainedSchedules([ReduceOnPlateau(o)]),
            TypeError,
            r"schedules\[0\]: expected a Schedule, whose rate depends on the step alone",
        ),
        (
            lambda o: ChainedSchedules([LinearWarmup(o), LinearWarmup(make())]),
            ValueError,
            r"schedules\[1\]: has another optimizer",
        ),
        (
            lambda o: SequentialSchedules([LinearWarmup(o)], [3]),
            ValueError,
            "milestones: expected 0 for 1 schedules, got 1",
        ),
        (lambda o: LinearWarmup(o).load_state_dict(3), TypeError, "state: expected a dict"),
    ],
)
def test_wrong_schedules(build, error, message):
    optimizer = make()
    with pytest.raises(error, match=message):
        build(optimizer)


# State dicts of version 0.1.0


def test_options_are_loaded_under_their_names_of_0_1_0():
    optimizer = SGD([zeros(2, requires_grad=True)], lr=0.5)
    schedule = SequentialSchedules(
        [LinearWarmup(optimizer), CosineSchedule(optimizer, 3)], milestones=[9]
    )
    schedule.load_state_dict(
        {
            "milestones": np.array([4]),
            "0.warmup": np.array(4),
            "0.start": np.array(0.25),
            "1.period": np.array(5),
            "1.min_lr": np.array(0.01),
            "1.restarts": np.array(True),
            "1.growth": np.array(2),
            "steps": np.array(2),
            "groups.0.base": np.array(0.5),
            "__metadata__": {
                "format_version": 1,
                "class": "SequentialSchedules",
                "schedules": [
                    {"format_version": 1, "class": "LinearWarmup"},
                    {"format_version": 1, "class": "CosineSchedule"},
                ],
            },
        }
    )
    assert optimizer.lr == 0.5 * (0.25 + 0.75 / 2)
    assert schedule.schedules[0].start_factor == 0.25
    assert (schedule.schedules[1].T_mult, schedule.milestones) == (2, (4,))

    cycle = OneCycle(optimizer, 99)
    names = {"total": 20, "rise": 0.5, "div": 4.0, "final_div": 10.0, "linear": True}
    state = {name: np.array(value) for name, value in names.items()}
    cycle.load_state_dict(state | {"steps": np.array(0), "groups.0.base": np.array(1.0)})
    assert optimizer.lr == 0.25
    assert repr(cycle).startswith("OneCycle(total_steps=20, pct_start=0.5, div_factor=4.0, final_d")


def test_options_of_optimizers_are_loaded_under_their_names_of_0_1_0():
    x = zeros(2, requires_grad=True)
    optimizer = Adagrad([x])
    options = {"lr": 0.5, "decay": 0.0, "epsilon": 0.0, "weight_decay": 0.0, "initial": 3.0}
    state = {f"groups.0.{name}": np.array(value) for name, value in options.items()}
    state |= {"groups.0.decays": np.array(0), "0.step": np.array(1), "0.sum": np.full(2, 3.0)}
    optimizer.load_state_dict(state | {"__metadata__": {"class": "Adagrad", "groups": [1]}})
    assert optimizer.initial_accumulator_value == 3.0
    x.grad = ones(2)
    optimizer.step()
    np.testing.assert_array_equal(x.numpy(), [-0.25, -0.25])
