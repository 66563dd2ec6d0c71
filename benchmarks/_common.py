"""What the studies share: options, pictures, rows that a later run takes up, tables."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ssi_pipeline.benchmark.identity import solver_identity
from ssi_pipeline.benchmark.images import find_images, read_truth
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import RunConfig
from ssi_pipeline.storage.atomic import write_json, write_text

Row = dict[str, Any]

SHORT_TRAINING = (
    "training.steps=2",
    "training.attempts=1",
    "training.patch=32",
    "training.batch=1",
    "network.width=2",
)
"""Options of the short forms: a training of seconds, which restores nothing."""


@dataclass(frozen=True, slots=True)
class Study:
    """A folder of rows, one file for each."""

    folder: Path

    def row(
        self,
        key: str,
        setup: Mapping[str, Any],
        make: Callable[[], Row],
        config: RunConfig | None = None,
        device: str | None = "cpu",
    ) -> Row:
        """Return the row of a name: the one that is there, or a new one, which is kept.

        ``setup``: what its numbers depend on, beside the solver's ``config`` (None: no solver of the pipeline), the
        ``device`` it is run on (None: what the configuration chooses) and the version of the algorithms, which are
        added. A row of another set-up ends the program.
        """
        path = self.folder / "rows" / f"{key}.json"
        wanted = json.loads(json.dumps({**setup, **solver_identity(config, device)}))
        if path.is_file():
            kept: Row = json.loads(path.read_text())
            old = kept["setup"]
            if changed := sorted(k for k in old.keys() | wanted.keys() if old.get(k) != wanted.get(k)):
                raise SystemExit(f"{path} is of other {', '.join(changed)}: give another --output, or remove it")
            say(f"{key}: there")
            return kept
        path.parent.mkdir(parents=True, exist_ok=True)
        row = json.loads(json.dumps({"setup": wanted, **make()}))  # a new row reads as a kept one
        write_json(path, row)
        return row

    def finish(self, heading: str, sheets: Sequence[Sheet], figures: Mapping[str, Figure] | None = None) -> None:
        """Print the tables and keep them as summary.md; keep figures as png, by their names."""
        text = f"# {heading}\n\n" + "\n".join(sheet.markdown() for sheet in sheets)
        write_text(self.folder / "summary.md", text)
        print("\n" + text, flush=True)
        for name, figure in (figures or {}).items():
            figure.set_dpi(130)
            FigureCanvasAgg(figure).print_png(str(self.folder / f"{name}.png"))


def parser(description: str | None, crop: int | None = None) -> argparse.ArgumentParser:
    """Return a parser with the options that all studies of pictures have."""
    result = plain_parser(description)
    result.add_argument("--images", type=Path, help="folder; by default six pictures of scikit-image's wheel")
    result.add_argument("--only", help="names of some of them, separated by commas")
    result.add_argument("--crop", type=int, default=crop, help="the middle of each, pixels along an axis")
    return result


def plain_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all studies have."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--output", type=Path, help="folder of rows and tables; by default build/ and the study's name")
    result.add_argument("--short", action="store_true", help="seconds: small and few, to see that it runs")
    result.add_argument("changes", nargs="*", metavar="key=value", help="options like training.steps=200")
    return result


@contextmanager
def begin(
    name: str, options: argparse.Namespace, short: Mapping[str, Any], changes: Sequence[str] = ()
) -> Iterator[Study]:
    """Yield the study's folder; ``short`` and ``changes``: the options, and those of solvers, of the short form."""
    torch.set_num_threads(1)
    if options.short:
        vars(options).update(short)
        options.changes = [*changes, *options.changes]
    if options.short and options.output is None:
        with tempfile.TemporaryDirectory(prefix=f"ssi-{name}-") as folder:
            yield Study(Path(folder))
    else:
        yield Study(options.output or Path("build", name))


def pictures(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the plane (y x, in [0, 1]) of each picture that was asked for."""
    paths = {path.stem: path for path in find_images(options.images)}
    names = options.only.split(",") if options.only else list(paths)
    if unknown := [name for name in names if name not in paths]:
        raise SystemExit(f"--only {', '.join(unknown)}: there are {', '.join(paths)}")
    for name in names:
        yield name, read_truth(paths[name], options.crop)


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
