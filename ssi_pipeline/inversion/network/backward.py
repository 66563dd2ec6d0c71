"""Send the training loss back to the parameters: by autograd, or with its gradient in closed form.

On a GPU most of a training step is launches, and of autograd's two thirds were those of the sensor and the penalties.
On a CPU they are a small part of a step; there autograd stays, whose bytes are those of every earlier run.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ssi_pipeline.inversion.network.batches import Batch
from ssi_pipeline.inversion.network.loss import Objective


def send_back(objective: Objective, batch: Batch, estimate: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Add the gradient of the loss to those of the parameters; return the data loss, without a gradient.

    Parameters
    ----------
    objective, batch
        The training loss, and the batch that it is computed on.
    estimate
        f of the batch, b x (z) y x, in the orientation of the measurement, with autograd's graph.
    parameters
        Of f, for penalties on their norms.
    """
    way = by_autograd if estimate.device.type == "cpu" else in_closed_form
    return way(objective, batch, estimate, parameters)


def by_autograd(objective: Objective, batch: Batch, estimate: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Differentiate the loss by autograd."""
    data = objective.data(batch.forward(estimate), batch.y, batch.hidden)
    loss = data + objective.penalty(estimate, parameters)
    loss.backward()  # type: ignore[no-untyped-call]
    return data.detach()


def in_closed_form(objective: Objective, batch: Batch, estimate: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Differentiate sensor, data loss and penalties in closed form, the optics and f by autograd: equal to rounding."""
    level = batch.forward.level(estimate)
    predicted, slope = batch.forward.sensor.with_slope(level.detach())
    data, back = objective.data_with_slope(predicted, batch.y, batch.hidden)
    ends = [(level, back if slope is None else back * slope), (estimate, objective.penalty_slope(estimate.detach()))]
    if objective.weighs_parameters:
        norms = objective.with_norms(data.new_zeros(()), parameters)
        ends.append((norms, torch.ones_like(norms)))
    torch.autograd.backward([tensor for tensor, _ in ends], [pull for _, pull in ends])
    return data
