"""Options that are each possible and contradict one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssi_pipeline.config.model import RunConfig


def refuse_contradictions(config: RunConfig) -> None:
    """Look at options together.

    Raises
    ------
    ValueError
        What was expected, what was found, what to do.
    """
    strange = sorted(set('"\\%') & set(str(config.state_path)))
    if config.executor.kind == "slurm" and strange:
        raise ValueError(
            f"output.state is {config.state_path}, with {' and '.join(strange)} in it, which SLURM reads in its own "
            "way in the names of log files: expected another name (output.state, or output.path where that is left out)"
        )
    if config.output.uncertainty == 1:
        raise ValueError("output.uncertainty: 1 prediction disagrees with nothing: expected 0 (no map) or 2 to 256")
    if config.output.uncertainty and not config.method.predicts:
        raise ValueError(
            f"output.uncertainty is {config.output.uncertainty}, but solver: {config.solver} makes no predictions to "
            "repeat: expected 0, or another solver"
        )
    if config.training.retrain and (not config.method.network or config.training.scope == "shared"):
        raise ValueError(
            f"training.retrain: with solver: {config.solver} and training.scope: {config.training.scope} no tile has a "
            "training of its own: expected solver: ssi with scope per_tile or fine_tune, or retrain: false"
        )
    if config.training.retrain and not config.quality.extended:
        raise ValueError(
            "training.retrain needs the scores of quality.extended: true, by which the better solution is kept"
        )
    weighs = config.method.tunes and not config.method.counts
    if weighs and not config.method.likelihood and config.classical.weight == "likelihood":
        raise ValueError(
            f"classical.weight: likelihood is for solver: wiener, a linear filter, but solver is {config.solver}: "
            "expected auto (by the masked loss) or a number"
        )
