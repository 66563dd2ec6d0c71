"""Run a notebook and write it as a page."""

from __future__ import annotations

import base64
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

TERMINAL = re.compile(r"\x1b\[[0-9;]*m")


def executed(path: Path) -> Any:
    """Return a notebook after a run of all its cells, in a folder of its own; an error in a cell is raised."""
    import nbformat
    from nbclient import NotebookClient
    from traitlets.config import Config

    book = nbformat.reads(path.read_text(), as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        # `!ssi ...` is the command of this environment
        shell = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        # sockets in the folder: nothing listens on the network
        sockets = Config({"ConnectionFileMixin": {"transport": "ipc", "ip": f"{folder}/kernel"}})
        NotebookClient(
            book, config=sockets, timeout=300, coalesce_streams=True, resources={"metadata": {"path": folder}}
        ).execute(env=shell)
    return book


def as_page(path: Path, folder: Path) -> str:
    """Run a notebook and return it as Markdown; its pictures and the notebook itself are written to ``folder``."""
    (folder / path.name).write_bytes(path.read_bytes())
    parts = []
    for number, cell in enumerate(executed(path).cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                picture = folder / f"{path.stem}-{number}.png"
                picture.write_bytes(base64.b64decode(data["image/png"]))
                parts.append(f"![Output of the cell above]({picture.name})")
            elif "text/html" in data:
                parts.append(f'<div markdown="0">\n{data["text/html"]}\n</div>')
            elif output.get("name") != "stderr" and data["text/plain"].strip():
                parts.append(f"```text\n{TERMINAL.sub('', data['text/plain']).rstrip()}\n```")
    parts.append(f"[Download this notebook]({path.name})")
    return "\n\n".join(parts) + "\n"
