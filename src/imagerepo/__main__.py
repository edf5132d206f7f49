"""`python -m imagerepo` and the console script."""

from __future__ import annotations

import sys

from imagerepo.errors import ConfigError
from imagerepo.failures import sentence

FAILED, WRONG_USE = 1, 2


def main() -> None:
    """Run a command. An error is one clear sentence on stderr; a traceback is a defect."""
    from imagerepo.cli import app

    try:
        app()
    except Exception as error:
        told = sentence(error)
        if told is None:
            raise
        sys.stderr.write(f"imagerepo: {told}\n")
        sys.exit(WRONG_USE if isinstance(error, ConfigError) else FAILED)


if __name__ == "__main__":
    main()
