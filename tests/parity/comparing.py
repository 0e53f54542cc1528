"""One variant beside its reference: parameters, multiply-accumulates, outputs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from kerascnn import analysis, create_model, variant, weights
from kerascnn.weights.fitting import Matching, fit
from kerascnn.weights.reading import Checkpoint

from . import caffe, golden, seeding
from .references import Reference


@dataclass(frozen=True)
class Row:
    """What was found; `error` is the largest relative difference of the logits over all inputs."""

    reference: Reference
    parameters: int
    their_parameters: int
    macs: int
    their_macs: int
    error: float

    @property
    def passed(self) -> bool:
        """Parameters and multiply-accumulates equal, logits within 1e-4."""
        return self.parameters == self.their_parameters and self.macs == self.their_macs and self.error <= 1e-4


def torch_packages() -> tuple[Any, Any, Any]:
    """torch, torchvision, timm; also where torchvision's own operators, which its networks do not use, cannot load."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch_packages.library = library  # type: ignore[attr-defined]  # it must outlive the import
        import torchvision
    import timm

    return torch, torchvision, timm


def build_reference(reference: Reference) -> Any:
    """Theirs, for inference, on the `meta` device: shapes without values."""
    if reference.package == "caffe":
        import torch

        with torch.device("meta"):
            return caffe.build(reference.name, variant(reference.variant).input_shape[2]).eval()
    torch, torchvision, timm = torch_packages()
    with torch.device("meta"):
        if reference.package == "torchvision":
            model = torchvision.models.get_model(reference.name, weights=None, **reference.arguments)
        elif reference.package == "timm":
            model = timm.create_model(reference.name, **reference.arguments)
        else:
            from pytorchcv.model_provider import get_model

            model = get_model(reference.name, **reference.arguments)
    if reference.early_stride:
        for module in model.modules():
            if hasattr(module, "conv3") and module.conv2.stride != (1, 1):
                module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
    return model.eval()


def count_macs(model: Any, side: int, channels: int) -> int:
    """Multiply-accumulates of convolutions and linear layers, on a network of the `meta` device (nothing is run)."""
    torch, _, _ = torch_packages()
    total = 0

    def add(module: Any, _: Any, output: Any) -> None:
        nonlocal total
        total += module.weight[0].numel() * output.numel()

    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    with torch.no_grad():
        model(torch.zeros(1, channels, side, side, device="meta"))
    for hook in hooks:
        hook.remove()
    return total


def naming_of(reference: Reference) -> Any:
    """The function of the family's mapping."""
    if reference.package == "caffe":
        return caffe.NAMES[reference.naming]
    family = variant(reference.variant).family
    return getattr(importlib.import_module(f"kerascnn.weights.naming.{family}"), reference.naming)


def compare(reference: Reference, folder: Path, *, write_golden: bool = False) -> Row:
    """Put the same seeded weights into both, through a torch checkpoint in `folder`, and ask both the same."""
    torch, _, _ = torch_packages()
    side, (default, _, channels) = reference.side, variant(reference.variant).input_shape
    theirs = build_reference(reference)
    their_macs = count_macs(theirs, default, channels)
    theirs = theirs.to_empty(device="cpu")
    state = theirs.state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(seeding.values(key, tensor.shape)))
    shape = (side, side, channels)
    ours = create_model(reference.variant, input_shape=shape, classifier_activation=None, **reference.options)
    if reference.package == "caffe":
        _load_by_name(ours, reference, {key: tensor.numpy() for key, tensor in state.items()})
    else:
        checkpoint = folder / "checkpoint.pth"
        torch.save(state, checkpoint)
        weights.load(ours, checkpoint)
        checkpoint.unlink()
    images = seeding.images(side, channels)
    with torch.no_grad():
        their_logits = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    error = golden.relative_error(np.asarray(ours(images, training=False)), their_logits)

    names = naming_of(reference)([layer.name for layer in ours.layers if layer.weights])
    folded = seeding.shapes(ours, names, conv_biases=True).keys() - seeding.shapes(ours, names).keys()
    folded &= state.keys()
    if write_golden and reference.package != "caffe":
        facts = {
            "variant": reference.variant,
            "reference": f"{reference.title}, {reference.package} {_version(reference.package)}",
            "options": dict(reference.options),
            "naming": reference.naming,
            "side": side,
            "conv_biases": bool(folded),
        }
        golden.write(reference.key, their_logits, facts)
    whole = ours if side == default else create_model(reference.variant, **reference.options)
    return Row(
        reference,
        parameters=analysis.count_parameters(ours).trained,
        their_parameters=sum(p.numel() for key, p in theirs.named_parameters() if key not in folded),
        macs=analysis.count_macs(whole),
        their_macs=their_macs,
        error=error,
    )


def _load_by_name(ours: Any, reference: Reference, state: Mapping[str, np.ndarray]) -> None:
    """Put arrays by Caffe's names into ours: only tests know these names."""
    layers = [layer for layer in ours.layers if layer.weights]
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for key, array in state.items():
        name, _, field = key.rpartition(".")
        if field != "num_batches_tracked":
            arrays.setdefault(name, {})[field] = array
    names = naming_of(reference)([layer.name for layer in layers])
    fitted = fit(ours, layers, Checkpoint(Path(reference.name), "torch", arrays), Matching(names, 1e-5))
    wrong = [*fitted.missing, *fitted.unexpected, *fitted.misshapen]
    assert not wrong, wrong
    for layer in layers:
        layer.set_weights(fitted.arrays[layer.name])


def _version(package: str) -> str:
    return metadata.version(package).partition("+")[0]
