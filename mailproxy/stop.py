"""The end of a run before anything is staged, said plainly."""

import sys
import textwrap

import click
from pyinfra.api.exceptions import PyinfraError
from pyinfra_cli.exceptions import CliError


class StopError(PyinfraError, CliError):  # type: ignore[misc]
    """Ends a run with an exit status and a message, '' for none.

    A PyinfraError, so that deploy code may raise it, and a CliError, so that pyinfra shows it as it is.
    """

    def __init__(self, message: str, status: int = 1):
        super().__init__(message)
        self.message = message
        self.exit_code = status

    def show(self, file: object = None) -> None:
        """Print the message to standard error."""
        if not self.message:
            return
        text = f"mailproxy: {self.message}"
        if sys.stderr.isatty():
            text = "\n".join(map(_wrapped, text.splitlines()))
        click.echo(click.style(text, "red" if self.exit_code else None), err=True)


def _wrapped(line: str) -> str:
    """Return a line for a terminal of 80 columns; elsewhere lines stay whole, for programs to find things in."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(line, 80, subsequent_indent=f"{indent}    ", break_long_words=False, break_on_hyphens=False)
