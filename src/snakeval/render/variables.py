"""Variables for a server, in a script that has a namespace of its own.

A script takes them before it has any variable, under names that nothing else reads
(`SNAKEVAL_VALUE_<n>`). The launch alone gives them their own names: the shell in the container, or
`launch.py` for a process. So no name that a config has can be one of the script's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snakeval.config.source import VARIABLE, Source, written
from snakeval.errors import InputError, Problem
from snakeval.render.bash import comment, word


def variables(
    script: str,
    fixed: Mapping[str, str],
    sources: Mapping[str, Source],
    wanted: Sequence[str] = (),
    key_name: str | None = None,
) -> str:
    """The part of a script that takes the variables; no value but fixed ones and `lit:` text.

    script    what tells this script's values from another's, where it starts itself again
    sources   as `env_vars` has them; what is unset makes `set_variables` fail
    wanted    passed on where they are set
    key_name  the one of them that holds the endpoint's key
    Raises InputError for a name that no variable can have.
    """
    fixed = {"PYTHONUNBUFFERED": "1", **fixed}
    given = {
        **{name: written(text) for name, text in fixed.items() if name not in sources},
        **sources,
    }
    check_names([*given, *wanted])
    held = {name: f"SNAKEVAL_VALUE_{number}" for number, name in enumerate([*given, *wanted], 1)}
    taken = [_taken(held[name], source) for name, source in given.items()]
    taken += [_taken(held[name], Source("host", name)) for name in wanted]
    secret = [name for name, source in given.items() if source.variable is not None]
    return "\n".join(
        [
            comment("The variables of what is started. They are taken before this script has any"),
            comment("of its own; only the launch gives them their names (render/variables.py)."),
            f'if [ "${{SNAKEVAL_TAKEN:-}}" != {word(script)} ]; then',
            '    for SNAKEVAL_OLD in "${!SNAKEVAL_VALUE_@}"; do unset "$SNAKEVAL_OLD"; done',
            *taken,
            f"    export SNAKEVAL_TAKEN={word(script)}",
            "fi",
            "passed=() passed_names=()",
            'pass() { passed+=("$1 $2") passed_names+=("$1"); }',
            *(f"pass {name} {held[name]}" for name in given),
            *(f'[ -z "${{{held[name]}+set}}" ] || pass {name} {held[name]}' for name in wanted),
            f"secret_names=({' '.join(held[name] for name in [*secret, *wanted])})",
            *_key(key_name, held),
            *_check_set(given, held),
            "",
        ]
    )


def check_names(names: Sequence[str]) -> None:
    """Raises InputError for what cannot be a variable's name."""
    wrong = [name for name in names if not VARIABLE.match(name)]
    if wrong:
        raise InputError(
            Problem("env_vars", f"{name!r} cannot be a variable's name", "write letters, digits, _")
            for name in wrong
        )


def _taken(held: str, source: Source) -> str:
    if source.variable is None:
        return f"    export {held}={word(source.text)}"
    variable = source.variable
    return f'    [ -z "${{{variable}+set}}" ] || export {held}="${{{variable}}}"'


def _key(key_name: str | None, held: Mapping[str, str]) -> list[str]:
    """The endpoint's key, for the questions that the scripts themselves ask there."""
    if not key_name or key_name not in held:
        return []
    value = held[key_name]
    known = f'SNAKEVAL_KEY_NAME={key_name} SNAKEVAL_KEY="${{{value}}}"'
    return [f'[ -z "${{{value}+set}}" ] || export {known}']


def _check_set(given: Mapping[str, Source], held: Mapping[str, str]) -> list[str]:
    unset = [
        f'    [ -n "${{{held[name]}+set}}" ] || '
        f'unset_variables="$unset_variables {source.variable}"'
        for name, source in given.items()
        if source.variable is not None
    ]
    return [
        "set_variables() {",
        "    unset_variables=''",
        *unset,
        '    [ -n "$unset_variables" ] || return 0',
        '    unset_variables="not set in this environment:$unset_variables"',
        "    return 1",
        "}",
    ]
