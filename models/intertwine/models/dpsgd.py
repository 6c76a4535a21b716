"""A participant's part of a DP-SGD step, for any torch module: the sum of its records' clipped gradients.

Abadi et al. 2016, algorithm 1, lines 4 to 6, with every record in the lot; the noise is added where it is
proven. What decides the privacy of the result stands in `task.Clipping` and in the plan (sigma, rounds,
delta). `Speed` decides its running time alone.

The gradients of one record each come from Opacus (Yousefpour et al. 2021), which knows or derives them for
any module that keeps its records apart. Modules listed in `_FAST` have a path of their own, by which the
same gradients come several times faster; it is chosen by the module's exact type, because a subclass may
compute something else.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from intertwine.models import clipping as clip
from intertwine.models import lstm
from intertwine.models.task import Clipping, Update
from intertwine.protocols.errors import InputError

Loss: TypeAlias = Callable[[Tensor], Tensor]
"""From a module's outputs for n records, shape (n, ...), to one loss a record, shape (n,).

A record's loss must depend on its own outputs only, or clipping bounds nothing.
"""
Path: TypeAlias = Callable[[Any, Tensor, Loss, int], Iterator[Tensor]]


@dataclass(frozen=True)
class Batch:
    """Records to take the gradients of: features, shape (n, ...), and the loss of their outputs."""

    features: Tensor
    loss: Loss


@dataclass(frozen=True)
class Speed:
    """What changes an update's running time and not the update.

    batch: records in one backward pass, at least 1. cache: entries of per-record gradients in work at a
    time, where the path can choose. The number of threads is torch's (OMP_NUM_THREADS).
    """

    batch: int = 512
    cache: int = clip.CACHE


def update(
    module: nn.Module, records: int, batch: Callable[[slice], Batch], clipping: Clipping, speed: Speed
) -> Update:
    """Minus each record's gradient, clipped and in integers, summed and projected; shape (d,).

    records: how many there are. batch: gives those of a slice, so that never all are in memory.
    d counts the module's parameters in the order of `module.parameters()`; all of them must be trainable.
    """
    if not all(parameter.requires_grad for parameter in module.parameters()):
        raise InputError("Some parameters of the module are frozen.", "Leave them out of its parameters.")
    dimension = sum(parameter.numel() for parameter in module.parameters())
    rows = max(1, speed.cache // dimension)
    total = np.zeros(dimension, dtype=np.int64)
    for start in range(0, records, speed.batch):
        part = batch(slice(start, min(start + speed.batch, records)))
        for gradients in record_gradients(module, part, rows):
            vectors = gradients.double().numpy()
            total -= clip.quantized_sum(vectors, clipping.record_norm, clipping.record_bound)
    return clip.project(total, clipping.update_bound)


def record_gradients(module: nn.Module, batch: Batch, rows: int) -> Iterator[Tensor]:
    """The gradient of each record's own loss, in the order of the records: tensors of shape (up to rows, d).

    The general path may yield more rows at once. InputError if the loss is not one figure a record.
    """
    count = len(batch.features)

    def loss(output: Tensor) -> Tensor:
        losses = batch.loss(output)
        if losses.shape != (count,):
            raise InputError(
                f"The loss of {count} records has shape {tuple(losses.shape)}.", "Return one loss a record."
            )
        return losses

    path = _FAST.get(type(module), opacus_gradients)
    return path(module, batch.features, loss, rows)


def opacus_gradients(module: nn.Module, features: Tensor, loss: Loss, rows: int) -> Iterator[Tensor]:
    """The general path: Opacus' hooks, removed afterwards; all rows at once.

    InputError if a part of the module has buffers: batch normalisation mixes the records of a batch.
    """
    from opacus import GradSampleModule  # noqa: PLC0415 — takes two seconds, and sets up the process's logging

    try:
        hooked = GradSampleModule(module, loss_reduction="sum")
    except NotImplementedError as error:
        raise InputError(
            "The module has buffers, as batch normalisation has, that may mix records.",
            "Use layers that treat every record by itself, such as GroupNorm.",
        ) from error
    try:
        torch.autograd.backward(loss(hooked(features)).sum())
        yield torch.cat([_grad_sample(parameter, len(features)) for parameter in module.parameters()], dim=1)
    finally:
        hooked.zero_grad(set_to_none=True)
        hooked.to_standard_module()


def _grad_sample(parameter: nn.Parameter, records: int) -> Tensor:
    """What Opacus left at a parameter, shape (n, size); zero if the outputs do not depend on it."""
    found = getattr(parameter, "grad_sample", None)
    return parameter.new_zeros(records, parameter.numel()) if found is None else found.detach().flatten(1)


def linear_gradients(module: nn.Linear, features: Tensor, loss: Loss, rows: int) -> Iterator[Tensor]:
    """The closed form for linear and logistic regression: the loss' slope at an output, times its input.

    features: shape (n, ..., inputs); a record may have several rows of inputs.
    """
    with torch.no_grad():
        output = module(features)
    (slope,) = torch.autograd.grad(loss(output.requires_grad_()).sum(), output)
    slopes = slope.reshape(len(features), -1, module.out_features)
    inputs = features.reshape(len(features), -1, module.in_features)
    for own, given in zip(torch.split(slopes, rows), torch.split(inputs, rows), strict=True):
        weight = torch.einsum("nko,nki->noi", own, given).flatten(1)
        yield weight if module.bias is None else torch.cat([weight, own.sum(dim=1)], dim=1)


_FAST: Mapping[type[nn.Module], Path] = {
    lstm.LSTM: lstm.record_gradients,
    nn.Linear: linear_gradients,
}
