"""A part joins its run: the first one sets the run up, the others find it ready."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from ssi_pipeline.errors import ConfigError, OutputError, SsiError, StoppedError
from ssi_pipeline.redact import redact
from ssi_pipeline.run.call import Call
from ssi_pipeline.run.channels import channels_ready, ready_channels
from ssi_pipeline.run.driver import workers
from ssi_pipeline.run.ledger_repair import readable_state
from ssi_pipeline.run.merge import settle_parts
from ssi_pipeline.run.missing import forget_missing
from ssi_pipeline.run.output_checks import check_output
from ssi_pipeline.run.prepare import Prepared
from ssi_pipeline.run.progress import ProgressDisplay
from ssi_pipeline.run.setup import start_or_resume
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.storage.lease_file import Holder
from ssi_pipeline.storage.ledger import Ledger, LedgerState
from ssi_pipeline.storage.lock import Lease, Say, run_lock
from ssi_pipeline.storage.output import read_status, set_status
from ssi_pipeline.storage.parts import Part, part_log, part_progress, parts_with_lock, save_count
from ssi_pipeline.storage.state import StatePaths
from ssi_pipeline.tasks import Context

SETTING_UP = "setting up for "
"""Purpose of the run's lock that other parts wait for; any other makes them refuse."""


def refuse_executor(prepared: Prepared) -> None:
    """Refuse executors that already spread the work over machines.

    Raises
    ------
    ConfigError
        The executor is one of those.
    """
    section = prepared.document.config.executor
    if section.kind == "slurm" or section.address is not None:
        found = f"kind: {section.kind}" + (", address" if section.address is not None else "")
        raise ConfigError(
            f"a part works on one machine, but the executor ({found}) spreads the work over several: "
            "use kind: serial or dask (without address), or run without --part"
        )


def check_start(prepared: Prepared, ignore_disk: bool) -> None:
    """Refuse at once what cannot be begun; where the state is there already, that is for the lock's holder to say.

    Raises
    ------
    OutputError
        See ``check_output``.
    """
    try:
        check_output(prepared, new=False, ignore_disk=ignore_disk)
    except OutputError:
        # another part may be making the output this moment
        if not StatePaths(prepared.document.config.state_path).root.exists():
            raise


def join(prepared: Prepared, part: Part, ignore_disk: bool, say: Say) -> Context:
    """Set up the run and its channels unless they are ready; one part at a time.

    Raises
    ------
    LockedError
        A run without parts, or parts of another number, work on this output.
    """
    paths = StatePaths(prepared.document.config.state_path)
    with run_lock(paths.lock, f"{SETTING_UP}{part}", say, _waiting(say)) as lease:
        check_output(prepared, new=False, ignore_disk=ignore_disk)
        settle_parts(paths, lease, say, lambda other: other.count != part.count)
        alone = parts_with_lock(paths) == [part]
        context, _ = start_or_resume(prepared, sweep=alone)  # what others write at this moment is no leftover
        save_count(paths, part.count)
        state = readable_state(context, lease.check)
        _say_incomplete(context, state)
        if not channels_ready(context, state):
            _ready(context, state, lease, part)
    return context


def _waiting(say: Say) -> Callable[[Holder], bool]:
    told: set[str] = set()

    def wait(holder: Holder) -> bool:
        """Tell whether to wait for who holds the lock; says so once for each holder."""
        if not holder.purpose.startswith(SETTING_UP):
            return False
        if holder.token not in told:
            told.add(holder.token)
            say(f"waiting while the run is being set up ({holder})")
        return True

    return wait


def _say_incomplete(context: Context, state: LedgerState) -> None:
    """An output that was complete is not any more when its files are gone."""
    output = context.document.config.output.path
    forget_missing(context, state)
    if not state.all_written and read_status(output) != "incomplete":
        set_status(output, "incomplete")


def _ready(context: Context, state: LedgerState, lease: Lease, part: Part) -> None:
    paths = context.paths
    display = ProgressDisplay(part_log(paths, part), part_progress(paths, part))
    with Ledger(paths.ledger, lease.check) as ledger, closing(display), StopRequest() as stop:
        try:
            with workers(Call(context, state, ledger, display, stop)) as loop:
                finished = ready_channels(context, state, loop)
        except (SsiError, OSError) as error:
            raise StoppedError(redact(f"stopped: {error}; what is done is recorded")) from error
    if not finished:
        raise KeyboardInterrupt
