"""Options of all commands of ``ssi``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssi_pipeline import __version__
from ssi_pipeline.commands.arguments import Add, Parser, add_json, count, folder, interval
from ssi_pipeline.commands.psf_parser import add_psf
from ssi_pipeline.commands.start_parser import add_start
from ssi_pipeline.exit_status import describe_statuses

COMMANDS = {
    "init": "start:init",
    "info": "start:info",
    "import": "copy:import_image",
    "images": "many:images",
    "plan": "run:plan",
    "preview": "results:preview",
    "run": "run:run",
    "status": "run:status",
    "verify": "results:verify",
    "report": "results:report",
    "view": "view:view",
    "export": "results:export",
    "config": "start:config",
    "crate": "start:crate",
    "schema": "start:schema",
    "completion": "start:completion",
    "psf": "psf:psf",
    "cluster": "other:cluster",
    "demo": "other:demo",
    "benchmark": "other:benchmark",
    "bench": "other:bench",
}
"""Module of this package and function of every command, in the order of ``ssi --help``."""

_FIRST_STEPS = """\
first steps:
  ssi info stack.tif                       what is in an image
  ssi init run.yaml --input stack.tif      write a configuration for it
  ssi plan run.yaml                        check it, without starting anything
  ssi run run.yaml                         the same command resumes
"""


def make_parser() -> Parser:
    """Return the parser; its result has the name of the chosen command in ``command``, its parser in ``parser``."""
    parser = Parser(
        prog="ssi",
        description="Self-supervised deconvolution of microscopy volumes too large for memory.",
        epilog=f"{_FIRST_STEPS}\n{describe_statuses()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ssi_pipeline {__version__}")
    group = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, text: str) -> Parser:
        """Add a command; its description is its help as a sentence."""
        sub: Parser = group.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        parser.parsers[name] = sub
        sub.set_defaults(command=name, parser=sub)
        _add_common(sub)
        return sub

    add_start(add)
    _add_run(add)
    _add_results(add)
    _add_tools(add)
    add_psf(add, _add_common)
    _add_cluster(add)
    _add_examples(add)
    return parser


def _add_common(parser: Parser) -> None:
    loud = parser.add_mutually_exclusive_group()
    loud.add_argument("-q", dest="verbosity", action="store_const", const=-1, help="print only results and errors")
    loud.add_argument(
        "-v", dest="verbosity", action="store_const", const=1, help="more: a line per tile; tracebacks of errors"
    )
    parser.options += ["-q", "-v"]
    parser.set_defaults(verbosity=0)
    parser.add_argument("--traceback", action="store_true", help="print the traceback of an error (also: SSI_DEBUG=1)")


def _add_run(add: Add) -> None:
    plan = add("plan", "show the tiling, cost and checks of a run without starting it")
    plan.add_argument(
        "--pilot", type=count, metavar="N", help="solve N tiles to measure the time; results are discarded"
    )
    add_json(plan)
    preview = add("preview", "solve a few representative tiles and show them; results are discarded")
    preview.add_argument("--tiles", type=int, default=6, metavar="N", help="number of tiles (default: 6)")
    preview.add_argument("--psf", type=Path, nargs="+", default=[], metavar="FILE", help="PSF files to compare")
    preview.add_argument("--output", type=Path, default=Path("preview-output"), help="output folder")
    add_json(preview)
    run = add("run", "start a run, or resume it with the same command")
    run.add_argument("--new", action="store_true", help="start over; an earlier run is moved to a backup")
    run.add_argument("--retry-failed", action="store_true", help="also retry tiles that failed before")
    run.add_argument("--ignore-disk", action="store_true", help="start even if the disk may be too small")
    run.add_argument(
        "--recreate-output",
        action="store_true",
        help="create a missing output again, for instance after a workflow manager deleted it",
    )
    run.add_argument("--part", metavar="K/N", help="run only part K of N, for job arrays")
    run.add_argument("--finish", action="store_true", help="complete the output after all parts are done")
    run.add_argument(
        "--follow", action="store_true", help="process data that are still being written, until the acquisition ends"
    )
    status = add("status", "show how many tiles are done, running, failed and pending")
    status.add_argument("--watch", action="store_true", help="update until the run is complete")
    status.add_argument("--every", type=interval, default=2.0, metavar="SECONDS", help="for --watch (default: 2)")
    add_json(status)
    for sub in (plan, run, status):
        _add_config(sub, begun=sub is not plan)
        _add_image(sub)
    _add_image(preview)
    _add_config(preview, "KEY=VALUE[,VALUE]", "change an option; of several values each is solved, to compare them")


def _add_results(add: Add) -> None:
    verify = add("verify", "read every written block back and compare it with the ledger")
    verify.add_argument(
        "--input", action="store_true", help="also check that the input has not changed since the tiles were solved"
    )
    add_json(verify)
    report = add("report", "write a self-contained HTML report of the run")
    report.add_argument("--output", type=Path, help="file to write (default: report.html in the state folder)")
    report.add_argument("--figures", type=Path, metavar="DIR", help="also write the figures here, as PNG and SVG")
    table = add("export", "write all metrics of all tiles to a table")
    table.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help=".csv or .parquet file (Parquet needs pyarrow)"
    )
    view = add("view", "look at a run, finished or not: input, output, maps and alarms in napari")
    view.add_argument("--maps", metavar="A,B", help="metrics to add as maps, or all (default: the usual ones)")
    view.add_argument("--3d", dest="three_d", action="store_true", help="start with a view of the volume")
    view.add_argument(
        "--neuroglancer", action="store_true", help="serve the output on this machine and print a link for a browser"
    )
    view.add_argument("--port", type=int, default=0, metavar="N", help="for --neuroglancer (default: a free one)")
    for sub in (verify, report, table, view):
        _add_config(sub, begun=True)
        _add_image(sub)


def _add_tools(add: Add) -> None:
    config = add("config", "print the configuration that an output was made with, as YAML that runs")
    config.add_argument("output", type=folder, metavar="OUTPUT", help="output of a run, for instance output.zarr")
    crate = add("crate", "describe an output and its making as an RO-Crate, in a file inside it")
    crate.add_argument(
        "output", type=folder, metavar="OUTPUT", help="finished output of a run, for instance output.zarr"
    )
    add("schema", "print the JSON schema of the configuration, for editors and validation")
    completion = add("completion", "print the completion of commands and options for a shell")
    completion.add_argument("shell", choices=["bash", "zsh"], help='load it with: eval "$(ssi completion bash)"')


def _add_cluster(add: Add) -> None:
    cluster = add("cluster", "print the SLURM job script, or check the site")
    cluster.add_argument(
        "what",
        choices=("script", "check"),
        help="script: print the job script of the workers; check: test the site with two small jobs",
    )
    cluster.add_argument(
        "--nodes", type=count, default=4, metavar="N", help="check: test up to N free nodes (default: 4)"
    )
    _add_config(cluster)


def _add_examples(add: Add) -> None:
    demo = add("demo", "solve an embedded example with known ground truth, and compare")
    demo.add_argument("--output", type=Path, default=Path("demo-output"), help="output folder (default: demo-output)")
    demo.add_argument("--data-only", action="store_true", help="write the image and its PSF, and solve nothing")
    benchmark = add("benchmark", "compare all methods on images with ground truth; the same command resumes")
    benchmark.add_argument("--images", type=Path, metavar="DIR", help="PNG and TIFF images (default: scikit-image's)")
    benchmark.add_argument("--methods", metavar="A,B", help="methods to compare, by name (default: all)")
    benchmark.add_argument("--seeds", default="0", metavar="0,1,2", help="for stochastic methods (default: 0)")
    benchmark.add_argument("--output", type=Path, default=Path("benchmark-output"), help="output folder")
    benchmark.add_argument("--psf", type=Path, metavar="FILE", help="2D PSF, npy or tif (default: the benchmark's)")
    benchmark.add_argument("--crop", type=count, metavar="N", help="use the central N x N pixels of each image")
    benchmark.add_argument(
        "--workers", type=count, default=1, metavar="N", help="number of single-threaded processes (default: 1)"
    )
    _add_set(benchmark, "KEY=VALUE", "set an option of the solvers, as in a configuration")
    bench = add("bench", "measure how fast this machine solves a tile, by phases, beside what it could do")
    bench.add_argument("--size", type=count, default=512, metavar="N", help="tile of N x N pixels (default: 512)")
    add_json(bench)
    _add_set(bench, "KEY=VALUE", "set an option, as in a configuration")


def _add_image(parser: Parser) -> None:
    parser.add_argument(
        "--image", metavar="NAME", help="one of many images (input.images), by its name; a pattern for run"
    )


def _add_config(
    parser: Parser, form: str = "KEY=VALUE", text: str = "change an option of the file", begun: bool = False
) -> None:
    """Add the argument ``config`` and ``--set``; ``begun``: an output or state folder will do as well."""
    or_folder = "; or a run that has begun, by its output or state folder" if begun else ""
    parser.add_argument("config", type=Path, help=f"configuration file, for instance run.yaml{or_folder}")
    _add_set(parser, form, text)


def _add_set(parser: Parser, form: str, text: str) -> None:
    parser.add_argument("--set", action="append", default=[], metavar=form, help=f"{text}, e.g. training.steps=100")
