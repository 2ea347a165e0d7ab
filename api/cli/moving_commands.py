"""``affidavit copy``, ``backup`` and ``restore``: a ledger elsewhere, or as it was."""

from __future__ import annotations

import os
from pathlib import Path

from ...domain.event import Meta
from ...ledger.moving.backing_up import backup_ledger, restore_ledger
from ...ledger.moving.copying import copy_ledger
from ...ledger.store.sqlite.place import FolderPlace
from ...projections.registry import REGISTRY
from ..settings import cosigners, folder, keys_root, ledger_place, recorder_name
from .output import base64, print_json, progress, say


def copy(source: str, destination: str, as_json: bool) -> None:
    here, there = ledger_place(source), ledger_place(destination)
    with progress("copying", quiet=as_json) as on_progress:
        copied = copy_ledger(
            here,
            there,
            keys_root(),
            REGISTRY,
            cosigners=cosigners(),
            meta=Meta(recorder=recorder_name()),
            jobs=os.cpu_count() or 1,
            on_progress=on_progress,
        )
    if as_json:
        print_json(
            {"origin": copied.origin, "size": copied.size, "root": base64(copied.root), "copied_before": copied.again}
        )
        return
    say(f"ledger   {there}")
    say(f"origin   {copied.origin}")
    say(f"entries  {copied.size}")
    say(f"root     {base64(copied.root)}")
    say()
    if copied.again:
        say("It had moved there before; nothing was done.")
        return
    say(f"The copy is verified. {here} is closed: it can be read and verified, and nothing is appended to it.")
    say("Its keys still lie there, where no erasure in the copy reaches them: remove it when nobody needs it any more.")


def backup(given: str | None, to: str, keys_to: Path | None, as_json: bool) -> None:
    made_in = folder(to)
    with progress("backing up", quiet=as_json) as on_progress:
        made = backup_ledger(ledger_place(given), made_in, keys_root(), keys_to=keys_to, on_progress=on_progress)
    if as_json:
        print_json(
            {"origin": made.origin, "size": made.size, "root": base64(made.root), "signed_size": made.signed_size}
        )
        return
    say(f"backup   {made_in}")
    say(f"origin   {made.origin}")
    say(f"entries  {made.size}, signed up to {made.signed_size}")
    say(f"root     {base64(made.root)}")
    say(f"keys     {'not kept' if keys_to is None else keys_to}")


def restore(backup: str, destination: str, keys_from: Path | None, behind: bool, as_json: bool) -> None:
    there = ledger_place(destination)
    with progress("restoring", quiet=as_json) as on_progress:
        made = restore_ledger(
            FolderPlace(folder(backup)),
            there,
            keys_root(),
            REGISTRY,
            keys_from=keys_from,
            behind=behind,
            jobs=os.cpu_count() or 1,
            on_progress=on_progress,
        )
    if as_json:
        print_json(
            {"origin": made.origin, "size": made.size, "root": base64(made.root), "signed_size": made.signed_size}
        )
        return
    say(f"ledger   {there}")
    say(f"origin   {made.origin}")
    say(f"entries  {made.size}")
    say(f"root     {base64(made.root)}")
    say(f"signed   up to {made.signed_size}, as the key folder on this machine knows")
    if made.moved is not None:
        say(f"closed   {made.moved}: it goes on there, and here it can be read and verified")
    if made.signed_size > made.size:
        say()
        say(f"Size {made.signed_size} was signed, so it opens only for reading: `affidavit reopen` lets it go on.")
