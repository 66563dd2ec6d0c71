"""Print what was measured as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ssi_pipeline.bench.measure import Speed
from ssi_pipeline.words import size_of


def print_table(found: Speed) -> None:
    """Print the phases with their sum, and the machine."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    at, best = found.machine, found.rates
    table = Table(box=None, pad_edge=False)
    for name in ("phase", "seconds", "of CPU", "share", "Mpx/s", "operations", "bytes", "floor, seconds"):
        table.add_column(name, justify="left" if name == "phase" else "right")
    for row in found.phases:
        operations = "" if row.operations is None else f"{row.operations:,}"
        size = "" if row.bytes is None else size_of(row.bytes)
        floor = "" if row.floor is None else f"{max(row.floor.arithmetic, row.floor.bandwidth):.2f}"
        share = f"{row.seconds / found.seconds:.0%}"
        times = f"{row.seconds:.2f}", f"{row.cpu_seconds:.2f}", share
        table.add_row(row.name, *times, f"{row.mpx_per_second:.3g}", operations, size, floor)
    pixels = 1e-6 * found.shape[0] * found.shape[1]
    times = f"{found.seconds:.2f}", f"{found.cpu_seconds:.2f}", "100%"
    table.add_row("all", *times, f"{pixels / found.seconds:.3g}", "", "", "")
    console.print(table)
    steps = f", {found.steps} steps" if found.steps else ""
    sides, domain = (" x ".join(map(str, shape)) for shape in (found.shape, found.domain))
    console.print(f"tile      {sides} pixels, {domain} with its halo, solved by {found.method}{steps}")
    if found.operations_of_a_step is not None:
        console.print(f"a step    {found.operations_of_a_step:.0f} operations, its share of a mask included")
    console.print(f"memory    {size_of(found.peak_bytes)} at the peak")
    console.print(f"machine   {at.processor}, {at.cores} cores, {at.threads} threads, torch {at.torch}, on {at.device}")
    products = f"{best.matrix_gflops:.0f} GFLOP/s of products, {best.convolution_gflops:.0f} of convolutions"
    console.print(f"at best   {products}; copies {best.copy_gb_per_s:.1f} GB/s")
