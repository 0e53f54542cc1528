"""Stochastic depth: residual units left out of a training step at random (Huang et al. 2016, arXiv:1603.09382).

At inference every unit is there, so that exported files know nothing of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import keras
from keras import KerasTensor, ops

from kerascnn.keras_graph import nodes_before, run_graph

Mode = Literal["batch", "row"]
Scaling = Literal["training", "inference"]
Join = Callable[..., KerasTensor]  # (shortcut, branch, name=...) -> their sum


@keras.saving.register_keras_serializable(package="kerascnn")
class StochasticDepth(keras.layers.Layer):
    """The sum of a shortcut and a residual branch, without the branch in some training steps.

    Input: [shortcut, branch], two maps of the same shape (batch, height, width, channels); output: that shape.

    Args:
        survival_probability: of the branch, above 0 and at most 1.
        mode: "batch" draws once a step for all images, as the paper does; "row" for each image.
        scaling: "training" divides a surviving branch by the probability, so that inference is the plain sum;
            "inference" multiplies every branch with it there, as the paper does.
        seed: of the draws; None takes one from `keras.utils.set_random_seed`.

    Raises:
        ValueError: an argument is not as said.
    """

    def __init__(
        self,
        survival_probability: float,
        mode: Mode = "batch",
        scaling: Scaling = "training",
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        _check(survival_probability, mode, scaling)
        self.survival_probability, self.mode, self.scaling, self.seed = survival_probability, mode, scaling, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply it."""
        shortcut, branch = inputs
        if training:
            rows = (ops.shape(branch)[0], 1, 1, 1) if self.mode == "row" else ()
            survives = ops.cast(self.draw(rows), branch.dtype)
            return shortcut + branch * (survives * self.training_factor)
        return shortcut + (branch if self.scaling == "training" else branch * self.survival_probability)

    def draw(self, shape: tuple[Any, ...] = ()) -> Any:
        """Whether the branch survives: booleans of that shape."""
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator) < self.survival_probability

    @property
    def training_factor(self) -> float:
        """What a surviving branch is multiplied with in training."""
        return 1 / self.survival_probability if self.scaling == "training" else 1.0

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        own = {"survival_probability": self.survival_probability, "mode": self.mode, "scaling": self.scaling}
        return {**super().get_config(), **own, "seed": self.seed}


@keras.saving.register_keras_serializable(package="kerascnn")
class StochasticDepthModel(keras.Model):
    """A network that does not compute the branches that a training step leaves out, which is where time is saved.

    It is an ordinary functional model, in which a branch that a `StochasticDepth` of mode "batch" adds, and that is
    needed for nothing else, runs under a condition. A unit that is left out does not touch its batch normalization's
    statistics, as in the paper; where Keras runs eagerly (always on torch), its weights have no gradient in that step,
    which Keras warns of. Parts of it (`keras.Model(model.input, model.get_layer(...).output)`) draw in the same
    way, but compute every branch.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # a read-only view, because Keras would track the layers in a list or dict as the model's once more
        self._branches = MappingProxyType(_branches(self))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Apply it."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        owner = {id(layer): join for join, branch in self._branches.items() for layer in branch}

        def operation(layer: Any) -> Callable[..., Any]:
            if id(layer) in owner:
                return lambda *args, **kwargs: _Deferred(layer, args, kwargs)
            if layer in self._branches:
                return lambda pair: _add_if_it_survives(layer, pair[0], pair[1], self._branches[layer])
            return lambda *args, **kwargs: _run(layer, args, kwargs)

        return run_graph(self, inputs, operation)


@dataclass(frozen=True, eq=False)
class _Deferred:
    """A call that has not been made."""

    layer: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def compute(self, done: dict[int, Any]) -> Any:
        """Make it, and those that it needs and that are not in `done`."""
        if id(self) not in done:
            args, kwargs = keras.tree.map_structure(
                lambda value: value.compute(done) if isinstance(value, _Deferred) else value, (self.args, self.kwargs)
            )
            done[id(self)] = _run(self.layer, args, kwargs)
        return done[id(self)]


def _run(layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if "training" in inspect.signature(layer.call).parameters:
        kwargs = {**kwargs, "training": True}
    return layer(*args, **kwargs)


def _add_if_it_survives(join: StochasticDepth, shortcut: Any, branch: _Deferred, layers: list[Any]) -> Any:
    """The sum, with the branch computed only where it survives."""
    shortcut = ops.cast(shortcut, join.compute_dtype)
    # JAX cannot assign variables under a condition: the branch works on copies, whose new values come out of it.
    variables = [(layer, variable) for layer in layers for variable in getattr(layer, "variables", ())]
    before = [(variable, variable.value) for _, variable in variables]
    state = [variable for layer, variable in variables if not variable.trainable and not _is_cast(variable, layer)]

    def with_branch() -> tuple[Any, list[Any]]:
        with keras.StatelessScope(before) as scope:
            total = shortcut + branch.compute({}) * join.training_factor
        return total, [scope.get_current_value(variable) for variable in state]

    def without() -> tuple[Any, list[Any]]:
        return shortcut, [ops.convert_to_tensor(variable.value) for variable in state]

    total, after = ops.cond(join.draw(), with_branch, without)
    for variable, value in zip(state, after, strict=True):
        variable.assign(value)
    return total


def _is_cast(variable: Any, layer: Any) -> bool:
    """Whether mixed precision reads it as float16: kernels, which must not be put back, and which do not change."""
    dtype = keras.backend.standardize_dtype(variable.value.dtype)
    return "float" in dtype and dtype != layer.variable_dtype


def _branches(model: keras.Model) -> dict[StochasticDepth, list[Any]]:
    """The layers of each branch: those whose outputs go nowhere but to the join."""
    nodes = list(nodes_before(model.outputs, {id(tensor) for tensor in model.inputs}))
    readers: dict[int, list[Any]] = {id(tensor): [None] for tensor in model.outputs}
    branches: dict[StochasticDepth, list[Any]] = {}
    for node in reversed(nodes):
        followers = {id(reader): reader for tensor in node.output_tensors for reader in readers.get(id(tensor), ())}
        join = next(iter(followers.values())) if len(followers) == 1 else None
        if join is not None:
            branches[join].append(node.operation)
        if isinstance(node.operation, StochasticDepth) and node.operation.mode == "batch":
            branches[node.operation] = []
            shortcut, branch = node.input_tensors
            readers.setdefault(id(shortcut), []).append(None)
            readers.setdefault(id(branch), []).append(node.operation)
        else:
            for tensor in node.input_tensors:
                readers.setdefault(id(tensor), []).append(join)
    return {join: layers for join, layers in branches.items() if layers}


def survival_probabilities(units: int, last: float) -> list[float]:
    """Return the probability that each of so many residual units survives, from the input on.

    It falls in a line to that of the last unit (equation 4).
    """
    return [1 - unit / units * (1 - last) for unit in range(1, units + 1)]


@dataclass(frozen=True)
class Survival:
    """What the options say about the residual units of one network.

    Attributes:
        last: Survival probability of the last unit; None for constant depth.
        mode: As for `StochasticDepth`.
        scaling: As for `StochasticDepth`.

    Raises:
        ValueError: An option has a value that is not allowed.
    """

    last: float | None = None
    mode: Mode = "batch"
    scaling: Scaling = "training"

    def __post_init__(self) -> None:
        _check(1 if self.last is None else self.last, self.mode, self.scaling)

    def joins(self, units: int) -> list[Join]:
        """Return, for each of so many residual units from the input on, what adds its branch to its shortcut."""
        last = 1.0 if self.last is None else float(self.last)
        return [partial(self._join, probability) for probability in survival_probabilities(units, last)]

    def _join(self, probability: float, x: KerasTensor, y: KerasTensor, *, name: str) -> KerasTensor:
        if probability == 1:
            return keras.layers.Add(name=name)([x, y])
        return StochasticDepth(probability, self.mode, self.scaling, name=name)([x, y])

    def model(self) -> type[keras.Model]:
        """Return the class of the model that holds the units."""
        return keras.Model if self.last in (None, 1) or self.mode == "row" else StochasticDepthModel


def _check(probability: Any, mode: Any, scaling: Any) -> None:
    number = isinstance(probability, (int, float)) and not isinstance(probability, bool)
    if not number or not 0 < probability <= 1:
        raise ValueError(
            "survival_probability is the probability that a residual unit takes part in a training step, above 0 and "
            f"at most 1 (0.5 is the paper's for the last unit); it is {probability!r}."
        )
    if mode not in ("batch", "row"):
        raise ValueError(
            f'Units are dropped for a whole batch ("batch") or for each image of it ("row"); the mode is {mode!r}.'
        )
    if scaling not in ("training", "inference"):
        raise ValueError(f'Branches are scaled in "training" or at "inference"; the scaling is {scaling!r}.')
