"""Join a run as one of its parts: the first part sets the run up, the others wait for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from ssi_pipeline.errors import ConfigError
from ssi_pipeline.results.versions import describe_other_versions
from ssi_pipeline.run.array.merge import refuse_working, settle_parts
from ssi_pipeline.run.channels import channels_ready, ready_channels
from ssi_pipeline.run.checks.input_check import refuse_changed_input
from ssi_pipeline.run.checks.output_checks import check_output
from ssi_pipeline.run.create import start_or_resume
from ssi_pipeline.run.prepare import Prepared
from ssi_pipeline.run.repair.missing import forget_missing
from ssi_pipeline.run.session import open_session, whole_run
from ssi_pipeline.run.stopped import stopping
from ssi_pipeline.run.workers import workers
from ssi_pipeline.run.writer import hold_state
from ssi_pipeline.storage.outputs.output import read_status, set_status
from ssi_pipeline.storage.outputs.output_lock import Leases, output_lease
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.lease_file import Holder
from ssi_pipeline.storage.state.ledger import LedgerState
from ssi_pipeline.storage.state.lock import Lease, Say, run_lock
from ssi_pipeline.storage.state.parts import Part, part_lock, part_log, part_progress, parts_with_lock, save_count
from ssi_pipeline.tasks import Context

SETTING_UP = "setting up for "
"""Prefix of the lock's purpose that other parts wait for; any other purpose is refused."""


def refuse_executor(prepared: Prepared) -> None:
    """Refuse executors that distribute work over machines.

    Raises
    ------
    ConfigError
        The executor is ``slurm``, or has an address.
    """
    section = prepared.document.config.executor
    if section.kind == "slurm" or section.address is not None:
        found = f"kind: {section.kind}" + (", address" if section.address is not None else "")
        raise ConfigError(
            f"a part runs on one machine, but the executor ({found}) uses several: "
            "use kind: serial or dask (without address), or run without --part"
        )


def join(prepared: Prepared, part: Part, stack: ExitStack, ignore_disk: bool, log: Say) -> tuple[Context, Leases]:
    """Set up the run and its channels unless that is done; one part at a time.

    Returns the run, and the lock of the part with the lease of its output, which ``stack`` holds. Both are taken
    under the run's own lock: of two conflicting clients the first continues, and one always does.

    Raises
    ------
    LockedError
        A run without parts, or with another number of parts, uses this output.
    """
    config = prepared.document.config
    paths = StatePaths(config.state_path)
    refuse_working([part], paths, log)  # first: the run's own lock may be held as long as a training takes
    with hold_state(config, paths.lock, f"{SETTING_UP}{part}", log, _waiting(log)) as lease:
        try:
            check_output(prepared, new=False, ignore_disk=ignore_disk)
            settle_parts(paths, lease, log, lambda other: other.count != part.count)
            own = stack.enter_context(run_lock(part_lock(paths, part), str(part), log))
            output = stack.enter_context(output_lease(config.output.path, paths.root, own, str(part), log))
            return _set_up(prepared, part, lease, ignore_disk), Leases(own, output)
        except BaseException:
            stack.close()  # the folder can only go when it is empty
            raise


def _set_up(prepared: Prepared, part: Part, lease: Lease, ignore_disk: bool) -> Context:
    check_output(prepared, new=False, ignore_disk=ignore_disk)  # again, now that no other run can create it
    paths = prepared.context.paths
    alone = parts_with_lock(paths) == [part]
    context, _ = start_or_resume(prepared, sweep=alone)  # files that other parts are writing are not leftovers
    save_count(paths, part.count)
    scope = replace(whole_run(context), log=part_log(paths, part), progress=part_progress(paths, part))
    with open_session(context, scope, lease) as session:
        for line in describe_other_versions(context.document):
            session.display.line(line)
        refuse_changed_input(context, session.display, session.is_asked_to_stop, alone)
        _mark_incomplete(context, session.state)
        if context.document.compute is None or not channels_ready(context, session.state):
            with stopping(), workers(session) as loop:
                finished = ready_channels(session, loop)
            if not finished:
                raise KeyboardInterrupt
        return session.context


def _waiting(log: Say) -> Callable[[Holder], bool]:
    logged: set[str] = set()

    def wait(holder: Holder) -> bool:
        """Return whether to wait for the holder of the lock; logs each holder once."""
        if not holder.purpose.startswith(SETTING_UP):
            return False
        if holder.token not in logged:
            logged.add(holder.token)
            log(f"waiting while the run is being set up ({holder})")
        return True

    return wait


def _mark_incomplete(context: Context, state: LedgerState) -> None:
    """Mark the output incomplete where files of it are missing."""
    output = context.document.config.output.path
    forget_missing(context, state)
    if not state.all_written and read_status(output) != "incomplete":
        set_status(output, "incomplete")
