"""`python -m imagerepo` and the console script."""

from __future__ import annotations

import sys

from imagerepo.errors import ConfigError, ImagerepoError

FAILED, WRONG_USE = 1, 2


def main() -> None:
    """Run a command. An error is one clear sentence on stderr, never a traceback."""
    from imagerepo.cli import app

    try:
        app()
    except ImagerepoError as error:
        sys.stderr.write(f"imagerepo: {error}\n")
        sys.exit(WRONG_USE if isinstance(error, ConfigError) else FAILED)


if __name__ == "__main__":
    main()
