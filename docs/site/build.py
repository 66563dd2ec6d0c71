"""Build the site from the pages of this repository: ``python docs/site/build.py [--output DIR]``.

Pages are copied to a folder, links are adapted, what is generated takes the place of its marker
(``<!-- site: options -->`` and the like), the notebook is run, and zensical builds all of it, strictly.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"
sys.path[:0] = [str(ROOT), str(SITE)]

import notebook  # noqa: E402
import reference  # noqa: E402

LINK = re.compile(r"(\]\()([^)\s#]*)((?:#[^)\s]*)?\))")
MARKER = re.compile(r"<!-- site: ([a-z]+) -->")
COPIED = {".png", ".svg", ".csv"}

GENERATED: dict[str, Callable[[], str]] = {
    "options": reference.options,
    "commands": reference.commands,
    "api": reference.api,
}

OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "workflows/README.md": "workflows.md",
}
"""Pages that do not lie in docs/, and their names on the site."""


def pages() -> dict[Path, str]:
    """Return the source of every page that is written as Markdown, and its name on the site."""
    docs = ROOT / "docs"
    inside = {path: str(path.relative_to(docs)) for path in sorted(docs.rglob("*.md"))}
    inside[docs / "README.md"] = "index.md"
    return inside | {ROOT / path: name for path, name in OUTSIDE.items()}


def relink(text: str, source: Path, placed: dict[Path, str], copy: Callable[[Path], str]) -> str:
    """Return a page with links from where it will be; ``copy`` takes a file along that is no page, and names it."""
    here = Path(placed[source]).parent

    def replaced(found: re.Match[str]) -> str:
        before, path, after = found.groups()
        if not path or re.match(r"[a-z]+:", path):
            return found[0]
        target = Path(os.path.normpath(source.parent / path))
        if target not in placed and not target.is_file():
            return found[0]  # zensical refuses it
        name = placed.get(target) or copy(target)
        return f"{before}{os.path.relpath(name, here)}{after}"

    return LINK.sub(replaced, text)


def stage(folder: Path) -> None:
    """Write the sources of the site to a folder: pages, pictures, what is generated, the notebook as a page."""
    folder.mkdir(parents=True)
    first = ROOT / "docs" / "notebooks" / "first.ipynb"
    written = pages() | {first: "notebooks/first.md"}
    placed = written | {ROOT / "README.md": "index.md"}

    def copy(path: Path) -> str:
        inside = path.is_relative_to(ROOT / "docs") and path.suffix in COPIED
        name = str(path.relative_to(ROOT / "docs" if inside else ROOT))
        name = name if inside else f"files/{name}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
        return name

    for source, name in written.items():
        page = folder / name
        page.parent.mkdir(parents=True, exist_ok=True)
        text = notebook.as_page(source, page.parent) if source == first else source.read_text()
        text = relink(text, source, placed, copy)
        page.write_text(MARKER.sub(lambda found: GENERATED[found[1]](), text))
    shutil.copy(SITE / "site.css", folder / "site.css")


def build(output: Path) -> int:
    """Build the site into a folder, which is replaced; return zensical's exit status."""
    work = output.parent / f"{output.name}-sources"
    for old in (output, work):
        shutil.rmtree(old, ignore_errors=True)
    stage(work / "docs")
    settings = (SITE / "zensical.toml").read_text()
    (work / "zensical.toml").write_text(settings.replace('site_dir = "site"', f'site_dir = "{output.name}"'))
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    status = subprocess.run(command, cwd=work).returncode
    if status == 0:
        shutil.move(work / output.name, output)
        shutil.rmtree(work)
        print(f"site: {output / 'index.html'}")
    return status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "site", help="folder (default: build/site)")
    sys.exit(build(parser.parse_args().output.absolute()))
