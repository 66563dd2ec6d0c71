"""The commands cluster, demo, benchmark and bench."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ssi_pipeline.commands.documents import FORMAT, plain
from ssi_pipeline.commands.screen import Screen
from ssi_pipeline.exit_status import ExitStatus


def cluster(options: argparse.Namespace) -> int:
    """Print the job script of the workers, or check the site."""
    from ssi_pipeline.config import load_config

    config, screen = load_config(options.config, options.set), Screen(options)
    if options.what == "script":
        from ssi_pipeline.cluster.script import script_text

        screen.say(script_text(config), end="")
        return ExitStatus.COMPLETE
    from ssi_pipeline.cluster.check import check

    good = check(config, screen.say, options.nodes)
    return ExitStatus.COMPLETE if good else ExitStatus.FAILED


def demo(options: argparse.Namespace) -> int:
    """Solve the example."""
    from ssi_pipeline.demo.demo import demo

    return demo(options.output)


def benchmark(options: argparse.Namespace) -> int:
    """Run the published protocol."""
    from ssi_pipeline.benchmark.command import benchmark
    from ssi_pipeline.benchmark.setup import Options

    return benchmark(
        Options(
            output=options.output,
            images=options.images,
            methods=options.methods,
            seeds=options.seeds,
            psf=options.psf,
            crop=options.crop,
            workers=options.workers,
            changes=tuple(options.set),
        )
    )


def bench(options: argparse.Namespace) -> int:
    """Measure the speed of this machine."""
    from ssi_pipeline.bench.measure import measure
    from ssi_pipeline.bench.table import print_table

    screen = Screen(options)
    found = measure(options.size, options.set, screen.hint)
    if screen.json:
        screen.result([], plain({"format": FORMAT} | asdict(found)))
    else:
        print_table(found)
    return ExitStatus.COMPLETE
