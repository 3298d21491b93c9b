"""Backups: one file that holds the whole database, and the way back.

`archive` knows the file, `tables` knows PostgreSQL. No program of PostgreSQL's has to
be there in the right version, and a backup can go into a newer Rollcall, or into
another version of PostgreSQL.
"""
