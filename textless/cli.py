"""The front door: mounts every verb that a stage has registered as an entry point, and turns errors into one line."""

import errno
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from textless.errors import UserError

GROUP = "textless.commands"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
WALK = ("demo", "doctor", "corpus", "encoder", "units", "ulm", "vocoder", "bundle", "resynthesize", "continue", "eval")


def build() -> typer.Typer:
    """The whole command line.

    A `typer.Typer` entry point becomes a group of verbs, a function a verb of its own, or, where the name is of the
    form `group.verb`, a verb of a group that another room has registered.
    """
    app = typer.Typer(
        help="Textless NLP: raw speech in, discrete units, unit language models, speech out.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode=None,  # plain help starts three times faster than the boxed one
    )
    app.callback()(_options)
    groups: dict[str, typer.Typer] = {"": app}
    for entry_point in sorted(entry_points(group=GROUP), key=_order):
        command = entry_point.load()
        group, _, verb = entry_point.name.rpartition(".")
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=verb)
            groups[verb] = command
        elif verb not in {known.name for known in groups[group].registered_commands}:
            groups[group].command(verb)(command)
    return app


def _order(entry_point: EntryPoint) -> tuple[int, str]:
    """Verbs in the order of the data's walk, those of other packages after them; last what joins a group."""
    place = WALK.index(entry_point.name) if entry_point.name in WALK else len(WALK)
    return (place + len(WALK) * ("." in entry_point.name), entry_point.name)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        import textless

        typer.echo(textless.__version__)
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a mistake of the user's is one line on stderr and exit status 2."""
    try:
        build()()
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        _fail(
            f"no space left on the disk while writing{f' {error.filename}' if error.filename else ''}; free some and "
            "run the same command again, what was finished is kept"
        )
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
