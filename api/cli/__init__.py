"""The ``affidavit`` command."""
