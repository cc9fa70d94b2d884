"""The store: one SQLite file with many runs, and a folder of artifacts beside it.

`store` has the faces `Store` and `Run`; `database` opens and migrates files, `schema` has the tables,
`rows` turns trials into rows and back, `housekeeping` says which artifacts may go.
"""

from vilfredo.store.database import StoreError
from vilfredo.store.store import Run, RunInfo, Status, Store

__all__ = ["Run", "RunInfo", "Status", "Store", "StoreError"]
