"""Completion of commands and options in a shell: a function with all words, so that TAB starts no Python."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from ssi_pipeline.commands.arguments import Parser
from ssi_pipeline.config.model import RunConfig

_HEAD = {
    "bash": '# completion of ssi for bash: eval "$(ssi completion bash)"\n',
    "zsh": '# completion of ssi for zsh: eval "$(ssi completion zsh)"\nautoload -Uz bashcompinit && bashcompinit\n',
}

_FUNCTION = """\
_ssi() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='{commands}'
  elif [ "$before" = --set ]; then
    compopt -o nospace 2>/dev/null
    words='{keys}'
  else
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
  fi
  case $word in
    -*) ;;
    *) [ "$COMP_CWORD" -eq 1 ] || [ "$before" = --set ] || words= ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o bashdefault -o default -F _ssi ssi
"""


def completion_text(shell: str, parser: Parser) -> str:
    """Return the text to evaluate in ``bash`` or ``zsh``; arguments that are files are completed by the shell."""
    cases = (f"      {name}) words='{' '.join(sub.options)}' ;;" for name, sub in parser.parsers.items())
    keys = " ".join(f"{key}=" for key in option_names(RunConfig))
    function = _FUNCTION.format(commands=" ".join(parser.parsers), keys=keys, cases="\n".join(cases))
    return _HEAD[shell] + function


def option_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all options; a PSF is one."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from option_names(inner, f"{prefix}{name}.")
        else:
            yield prefix + name
