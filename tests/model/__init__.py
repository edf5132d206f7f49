"""An explicit-state model of the protocol, beside the code that follows it (docs/testing.md, "The model").

engine      explores every state a model can reach; the first trace that it finds is a shortest one
facts       rows, records, disks, servers, and the world that holds them
reading     what a start or a restore finds in the store
events      what happens to servers from outside: late PUTs, starts, deaths, clients
chain       the protocol of commits and starts, without a mistake
invariants  the design's invariants 1 to 5, as properties of one state
mutations   the chain's protocol with one rule left out, each a class
scenarios   how many sessions, deaths, doubts and starts: small in the suite, wide in the soak
pruning     background bases and pruning under a reader, and the mistakes in them
claiming    epochs, claimed replica by replica, and the mistakes in it
condemning  the deletion of a base beside commits; condemning_mutations, with one rule left out
vocabulary  the steps' names, and those that are not modelled, and why
soak        the wide run

To change the protocol: change the step here first, see the invariants hold, then change the code and
docs/durability.md. To doubt a rule: leave it out in a class of mutations.py, and read the trace.

The bounds are bounds: within them the search is exhaustive, beyond them it says nothing. A session is one row
and a delta the rows that changed, so a delta applied to the wrong parent gives wrong rows, as pages would.
"""
