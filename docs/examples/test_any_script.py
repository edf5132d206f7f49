"""A property test of a running server: it says and shows what the reference model says and shows.

SERVER=http://127.0.0.1:8000 TOKEN=... python -m pytest docs/examples/test_any_script.py

Nobody else may write to the server meanwhile.
"""

import os

import httpx
from hypothesis import given, settings

from imagerepo.testing import strategies
from imagerepo.testing.reference import Reference
from imagerepo.testing.remote import Remote
from imagerepo.testing.scripts import Script, play


@settings(deadline=None, max_examples=int(os.environ.get("EXAMPLES", "100")))
@given(script=strategies.scripts())
def test_any_script_of_sessions_ends_as_in_the_reference_model(script: Script) -> None:
    authorization = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    with httpx.Client(base_url=os.environ["SERVER"], headers=authorization, timeout=60) as client:
        remote = Remote(client)
        reference = Reference(remote.live(), revision=remote.revision())
        assert play(script, remote) == play(script, reference)
        for revision in reference.revisions:
            assert remote.live(at=revision) == reference.live(at=revision)
