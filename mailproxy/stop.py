"""The end of a run before anything is staged, said plainly."""

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
        if self.message:
            click.echo(click.style(f"mailproxy: {self.message}", "red" if self.exit_code else None), err=True)
