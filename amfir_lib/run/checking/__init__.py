"""Which columns name a row of a table without declaration; the report reads it."""
