"""The command line: one module per verb, imported when the verb is used."""

from __future__ import annotations

import importlib
import io
import sys
import tempfile
import traceback
from typing import Any

import click

from lnlbench._version import __version__
from lnlbench.basics.printable import check_characters, shorten
from lnlbench.console.echo import echo
from lnlbench.errors import ExitCode, LnlbenchError

LONGEST_ERROR = 4000  # characters: a message quotes what it is about, however long that is

# Verb → module and its line in --help, kept here so that --help imports no verb.
VERBS = {
    "run": ("run", "Run a grid, or continue it."),
    "status": ("status", "Show what is done, what failed and why."),
    "table": ("table", "Make the table of a grid from its records."),
    "plot": ("plot", "Draw the figure of a grid from its records."),
    "rank": ("rank", "Rank methods across settings, with tests and intervals."),
    "report": ("report", "Write a report: one HTML file."),
    "audit": ("audit", "Find wrong labels in a data set."),
    "predict": ("predict", "Predict images with a model that a run saved."),
    "verify": ("verify", "Compare results with the paper's."),
    "export": ("export", "Write all trials as CSV or Parquet."),
    "tune": ("tune", "Search hyperparameters for a backbone."),
    "list": ("list_", "List grids, methods, backbones, data sets or noise."),
    "check": ("check", "Check that a method, backbone, data set or metric keeps the rules."),
    "new": ("new", "Start a method, backbone or data set of your own."),
    "data": ("data", "Fetch or check a data set, or make a stand-in."),
    "noise": ("noise", "Make, import, show or verify files of noisy labels."),
    "doctor": ("doctor", "Check the installation and this machine."),
}


class Verbs(click.Group):
    """Commands by name, imported on demand."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the verbs in the order in which one meets them."""
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import and return a verb's command."""
        if name not in VERBS:
            return None
        module = importlib.import_module(f"lnlbench.cli.{VERBS[name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which one may have been meant."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            from lnlbench.errors import UsageError, suggest

            raise UsageError(f"There is no command '{args[0]}'.", suggest(args[0], VERBS))
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="lnlbench %(version)s")
def cli() -> None:
    """Compare methods of learning with noisy labels on pre-trained models.

    \b
    Start with:  lnlbench run --grid quickstart
    """


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; see :class:`lnlbench.errors.ExitCode`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show all of Unicode
            stream.reconfigure(errors="backslashreplace")
    try:
        for argument in sys.argv[1:] if arguments is None else arguments:
            check_characters(argument, "the command line")
        result: Any = cli.main(arguments, prog_name="lnlbench", standalone_mode=False)
        return int(result) if isinstance(result, int) else ExitCode.OK
    except LnlbenchError as error:
        echo(f"Error: {shorten(str(error), LONGEST_ERROR)}", err=True)
        return error.exit_code
    except click.ClickException as error:
        message = io.StringIO()
        error.show(message)
        echo(shorten(message.getvalue(), LONGEST_ERROR), err=True, nl=False)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted; finished trials are saved. The same command continues.", err=True)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has left (`lnlbench export | head`); nothing more can be said.
        sys.stderr.close()
        return ExitCode.OK
    except OSError as error:
        if error.filename is None:
            return _internal_error(error)
        # A file or folder that the system refuses is no bug, wherever it was noticed.
        echo(f"Error: '{shorten(str(error.filename))}' cannot be used: {error.strerror}.", err=True)
        return ExitCode.USAGE
    except Exception as error:  # noqa: BLE001
        return _internal_error(error)


def _internal_error(error: Exception) -> int:
    """Report a bug of ours: the user gets a sentence, the log gets the traceback."""
    with tempfile.NamedTemporaryFile(
        "w",
        prefix="lnlbench-error-",
        suffix=".log",
        delete=False,
        encoding="utf-8",
        errors="backslashreplace",
    ) as log:
        log.write(f"lnlbench {__version__}\n{sys.argv}\n\n{traceback.format_exc()}")
    echo(
        f"Internal error: {type(error).__name__}: {shorten(str(error), LONGEST_ERROR)}\n"
        f"This is a bug in lnlbench; please report it with the log {log.name}. "
        "Finished trials are saved.",
        err=True,
    )
    return ExitCode.INTERNAL
