"""Affidavit: a tamper-evident ledger for AI quality evidence.

Start reading at ``docs/concepts.md`` for the words and ``docs/life-of-an-entry.md`` for the path of
one event. The folders, each importing only what stands to its right::

    api -> projections -> ledger -> domain
"""
