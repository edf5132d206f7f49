from __future__ import annotations

import pytest

from tests.strace.grounds import Grounds, make_grounds


@pytest.fixture(scope="session")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Grounds:
    return make_grounds(tmp_path_factory.mktemp("grounds"))
