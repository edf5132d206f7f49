"""The proof's state machine: clients, servers, deaths, rests and a store that fails, in any order.

What is drawn has the same form whatever the servers do meanwhile, as they are real processes and no two runs
of a story are quite alike: a rule that makes no sense where the story stands does nothing.
"""

from __future__ import annotations

from tests.machine.admins import Admins
from tests.machine.clients import Clients
from tests.machine.healing import Healing
from tests.machine.meetings import Meetings
from tests.machine.repairs import Repairs
from tests.machine.troubles import Troubles


class Machine(Clients, Admins, Troubles, Meetings, Healing, Repairs):
    """All rules. Set `nursery`, `coverage` and `failures` in a class of your own."""


class Mending(Clients, Repairs):
    """Stories of drift and its repair: with fewer rules they meet in the middle more often."""
