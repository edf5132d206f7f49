"""What a command that fails owes to whoever gave it."""

from __future__ import annotations

import subprocess


def assert_fails(result: subprocess.CompletedProcess[str], status: int, *complaints: str) -> None:
    """With this exit status, and one sentence on stderr."""
    assert (result.returncode, result.stdout) == (status, "")
    assert all(complaint in result.stderr for complaint in complaints), result.stderr
    assert result.stderr.startswith("imagerepo: ")
    assert "Traceback" not in result.stderr
