"""The ``affidavit`` command.

Exit codes: 0 ok, 1 damaged, 2 the request cannot be served, 3 something asked for was not met, 4 a rollback
or a second history, 70 a fault of this program, 130 interrupted.
"""

from __future__ import annotations

import io
import sqlite3
import sys
import traceback

from .interruption import INTERRUPTED, noted_interrupts

_OWN_FAULT = 70
"""A fault of this program, with its traceback; never 1, which a script takes for damage. As in sysexits.h."""


def main() -> None:
    """Run the command; every error that has a name ends in one line on standard error."""
    try:
        with noted_interrupts():  # before anything that takes time is imported
            _run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run() -> None:
    from ...domain.errors import AffidavitError
    from .menu import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # recorded text may hold what the terminal's encoding does not
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except (AffidavitError, OSError) as error:
        from ...ledger.errors import SigningRefused
        from .output import safe

        print(f"affidavit: {safe(str(error))}", file=sys.stderr)
        sys.exit((1 if error.kind == "self_check_failed" else 4) if isinstance(error, SigningRefused) else 2)
    except sqlite3.Error as error:
        print(f"affidavit: a database cannot be used: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception:
        traceback.print_exc()
        sys.exit(_OWN_FAULT)
