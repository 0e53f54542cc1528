"""Train without undoing a compression: zeros stay zeros, and weights that share a value go on sharing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from export.compression.networks import kernels, layer_of, members
from export.compression.pruning import Pattern, check, gradually, prune

if TYPE_CHECKING:
    from export.compression.pruning import Sparsity


@keras.saving.register_keras_serializable("kerascnn")
class KeepStructure(keras.optimizers.Optimizer):
    """An optimizer around another one that keeps zeros zero and shared values shared.

        model.compile(KeepStructure(keras.optimizers.Adam(1e-4), model), "sparse_categorical_crossentropy")
        model.fit(...)

    The gradient of a shared value is the sum of its members' gradients (Han, Mao & Dally 2016, arXiv:1510.00149), so
    optimizers that do not depend on a gradient's scale, such as Adam, suit it. A kernel of more than 256 values keeps
    only its zeros. A model that is saved with this optimizer is loaded with the inner one.

    Args:
        inner: updates the weights.
        model: its zeros and shared values as they are now are kept.
    """

    def __init__(self, inner: keras.optimizers.Optimizer, model: keras.Model):
        super().__init__(learning_rate=0.0, name=f"keep_structure_{inner.name}")
        self.inner = inner
        self._kept = {id(kernel): _Kept(np.asarray(kernel, np.float32)) for kernel in kernels(model).values()}

    def build(self, variables: list[Any]) -> None:
        """Prepare the inner optimizer for the variables."""
        self.inner.build(variables)
        super().build(variables)
        self._updated = list(variables)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update the variables, with shared gradients for shared values and none for zeros."""
        variables = list(self._updated if trainable_variables is None else trainable_variables)
        if not self.built:
            self.build(variables)
        kept = [(variable, self._kept.get(id(variable))) for variable in variables]
        folded = [g if g is None or keep is None else keep.summed(g) for g, (_, keep) in zip(grads, kept, strict=True)]
        self.inner.apply(folded, variables)
        for variable, keep in kept:
            if keep is not None:
                variable.assign(keep.tied(variable))

    @property
    def variables(self) -> list[Any]:
        """The inner optimizer's variables."""
        return self.inner.variables

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's learning rate."""
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        self.inner.learning_rate = rate

    @property
    def iterations(self) -> Any:
        """How many steps were taken."""
        return self.inner.iterations

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        """Do what the inner optimizer does when training ends."""
        self.inner.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """Describe the inner optimizer. What is kept belongs to one model, and is not saved."""
        return {"inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> keras.optimizers.Optimizer:
        """Return the inner optimizer alone."""
        return keras.saving.deserialize_keras_object(config["inner"], custom_objects=custom_objects)


class _Kept:
    """Which weights of a kernel are zero, and which share a value."""

    def __init__(self, kernel: np.ndarray):
        book, self._indices = members(kernel)
        self._mask = (kernel != 0).astype(np.float32)
        self._first = None if book is None else np.unique(self._indices, return_index=True)[1].astype(np.int32)
        self._indices = self._indices.ravel().astype(np.int32)

    def summed(self, gradient: Any) -> Any:
        """Return for each weight the gradient of its shared value."""
        gradient = gradient * self._mask
        if self._first is None:
            return gradient
        sums = keras.ops.segment_sum(keras.ops.reshape(gradient, [-1]), self._indices, len(self._first))
        return keras.ops.reshape(keras.ops.take(sums, self._indices), gradient.shape)

    def tied(self, kernel: Any) -> Any:
        """Return the kernel with one member's value for all: after equal sums they may still differ by a bit."""
        kernel = keras.ops.convert_to_tensor(kernel) * self._mask
        if self._first is None:
            return kernel
        values = keras.ops.take(keras.ops.reshape(kernel, [-1]), self._first)
        return keras.ops.reshape(keras.ops.take(values, self._indices), kernel.shape)


class PruningSchedule(keras.callbacks.Callback):
    """Prune more and more in `model.fit`, from batch `begin` to batch `end`; zeros then stay zero.

    Args:
        sparsity: at the end, as for `prune`.
        begin: number of the first batch, over all epochs.
        end: number of the last batch, over all epochs.
        every: batches between two steps of the schedule.
        pattern: as for `prune`. 2:4 is complete from batch `begin` on.
        whole: as for `prune`.
    """

    def __init__(
        self,
        sparsity: Sparsity,
        *,
        begin: int,
        end: int,
        every: int = 50,
        pattern: Pattern = "unstructured",
        whole: bool = False,
    ):
        super().__init__()
        self._sparsity, self._pattern, self._whole = sparsity, pattern, whole
        self._begin, self._end, self._every = begin, end, every
        self._batch = 0
        self._masks: list[tuple[Any, np.ndarray]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the layers to prune, and start the schedule."""
        shares = check(self.model, self._sparsity, self._pattern)
        self._wanted = {layer_of(path): share for path, share in shares.items()}
        self._batch = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Keep the zeros, and prune where the schedule says so."""
        for variable, mask in self._masks:
            variable.assign(np.asarray(variable) * mask)
        done = min(self._batch, self._end)
        if self._begin <= self._batch <= self._end and (not (done - self._begin) % self._every or done == self._end):
            self._prune(done)
        self._batch += 1

    def on_train_end(self, logs: Any = None) -> None:
        """Prune to the end of a schedule that is longer than the training."""
        if self._batch <= self._end:  # training was shorter than the schedule
            self._prune(self._end)

    def _prune(self, done: int) -> None:
        now = {name: gradually(share, self._begin, self._end, done) for name, share in self._wanted.items()}
        prune(self.model, now, pattern=self._pattern, whole=self._whole)
        known = kernels(self.model)
        self._masks = [(known[f"{name}/kernel"], np.asarray(known[f"{name}/kernel"]) != 0) for name in now]
