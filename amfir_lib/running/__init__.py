"""The parts of the runner: reading notebooks, one child process per notebook, the ledger, the lock, the display."""
