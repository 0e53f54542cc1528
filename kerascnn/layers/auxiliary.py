"""Auxiliary classifiers: side branches that help the first layers learn, and that only exist in training."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="kerascnn")
class AuxiliaryModel(keras.Model):
    """A network with auxiliary classifiers (Szegedy et al. 2014, arXiv:1409.4842, section 5).

    In training its output is a dict of the classifiers: `predictions` and the auxiliary ones. Everywhere else, in
    `model(images)`, `predict`, `evaluate` and exported files, it is the predictions alone, and the auxiliary branches
    are not run.

    It is compiled and fitted like any classifier, with one loss and plain labels: the loss in training is that of the
    predictions plus `auxiliary_weight` times that of each auxiliary classifier; metrics judge the predictions.

        model = googlenet(aux_logits=True)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(images, labels)

    In a training loop of one's own, the same loss is one call away:

        loss = model.compute_loss(images, labels, model(images, training=True))

    Args:
        inputs, outputs, name: as for `keras.Model`; outputs is a dict with the key `predictions`.
        auxiliary_weight: weight of each auxiliary loss: 0.3 is GoogLeNet's. It may be set until training starts, and is
            saved with the model; `keras.models.clone_model` goes back to 0.3.
    """

    def __init__(self, *args: Any, auxiliary_weight: float = 0.3, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.auxiliary_weight = auxiliary_weight
        # Only the method is kept: a model as an attribute would be tracked as one more layer.
        self._predict = keras.Model(self.input, self.predictions).call

    @property
    def predictions(self) -> keras.KerasTensor:
        """The symbolic output that remains at inference."""
        return self.outputs[self.output_names.index("predictions")]

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Apply it."""
        if training:
            return super().call(inputs, training=training, mask=mask)
        return self._predict(inputs, training=training, mask=mask)

    def compute_output_spec(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the shape and type of the output."""
        raise ValueError(
            f"{self.name!r} has auxiliary classifiers, so its output differs between training and inference, and it "
            "cannot be a layer of another model. Use kerascnn.inference_model(model), which shares its weights."
        )

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of the predictions, plus those of the auxiliary classifiers where `y_pred` has them."""
        if not isinstance(y_pred, dict):
            return super().compute_loss(x, y, y_pred, sample_weight, training=training)
        total = super().compute_loss(x, y, y_pred["predictions"], sample_weight, training=training)
        penalties = sum(keras.ops.sum(penalty) for penalty in self.losses)  # weight decay counts once
        for name, auxiliary in y_pred.items():
            if name != "predictions":
                loss = super().compute_loss(x, y, auxiliary, sample_weight, training=training)
                total += self.auxiliary_weight * (loss - penalties)
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Update the metrics with the predictions."""
        predictions = y_pred["predictions"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, y, predictions, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "auxiliary_weight": self.auxiliary_weight}
