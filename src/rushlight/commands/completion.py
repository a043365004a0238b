"""``rushlight completion SHELL``: what a shell evaluates so that it completes the command's names, its options and, elsewhere, files."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["SHELLS", "script"]

# What may follow a command; a script's own options are not ours.
FOLLOWS = {"run": ("-m", "--nproc"), "link": ("--check", "--hide", "--show", "--wheel"), "check": ("--json",),
           "compare": ("--python", "--runs", "--rtol", "--html"), "completion": ("bash", "zsh", "fish")}
SHELLS = FOLLOWS["completion"]


def script(shell: str, commands: Iterable[str]) -> str:
    """The text for one of SHELLS."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](sorted(commands))


def _bash(commands: list[str]) -> str:
    """Options where a word begins with a dash; elsewhere nothing is offered, which leaves the shell to complete files."""
    cases = "".join(f'        *:{name}:{"" if name == "completion" else "-"}*) words="{" ".join(words)}" ;;\n'
                    for name, words in FOLLOWS.items())
    return (f'_rushlight() {{\n    local word="${{COMP_WORDS[COMP_CWORD]}}" words=""\n    case "$COMP_CWORD:${{COMP_WORDS[1]}}:$word" in\n'
            f'        1:*) words="{" ".join(commands)} --help --version" ;;\n{cases}    esac\n'
            f'    COMPREPLY=($(compgen -W "$words" -- "$word"))\n}}\ncomplete -o default -F _rushlight rushlight')


def _zsh(commands: list[str]) -> str:
    cases = "".join(f'        {name}:{"" if name == "completion" else "-"}*) compadd -- {" ".join(words)} ;;\n'
                    for name, words in FOLLOWS.items())
    return (f'_rushlight() {{\n    if (( CURRENT == 2 )); then compadd -- {" ".join(commands)} --help --version; return; fi\n'
            f'    case "$words[2]:$words[CURRENT]" in\n{cases}        *) _files ;;\n    esac\n}}\ncompdef _rushlight rushlight')


def _fish(commands: list[str]) -> str:
    lines = [f"complete -c rushlight -n __fish_use_subcommand -f -a '{' '.join(commands)}'",
             "complete -c rushlight -n __fish_use_subcommand -l help", "complete -c rushlight -n __fish_use_subcommand -l version"]
    for name, words in FOLLOWS.items():
        where = f"complete -c rushlight -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{where} -l {each[2:]}" if each.startswith("--") else f"{where} -s {each[1:]}" if each.startswith("-")
                  else f"{where} -f -a {each}"
                  for each in words]
    return "\n".join(lines)
