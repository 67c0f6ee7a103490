"""What a conversion makes of `pipelines.picture_check`: words, and samples to leave out.

Samples whose pictures changed places are left out: nobody but their owner can say which was meant.  Pictures
that are shifted against the labels are an error.  Suspects and copies are told and kept, since a network is
no judge of unusual hands.
"""

import argparse
import os
from dataclasses import dataclass, field

from pipelines.picture_check import check_pictures

MANY = 0.2  # share of suspects from which they rather tell something about the network


@dataclass
class Content:
    """problems, notes: lines of text.  report: dict, entries for the report file."""

    problems: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    report: dict = field(default_factory=dict)


def look(source, items, jobs, parts, limit, folder):
    """Checks the pictures of a split that was written; enters the samples to be left out into the jobs.

    source, items, jobs, parts: of `run`.  limit: as of `check_pictures`.  Returns a `Content`.
    """
    paths = [job["path"] for job in jobs.values()]
    try:
        found = check_pictures(paths, sum(part["samples"] for part in parts.values()), limit)
    except ImportError as error:
        return Content(notes=[f"the pictures were not looked at: {error}; --check-pictures needs Keras"])
    named = _names(found)
    files = {item["id"]: _file(source, item, folder) for item in items if item["id"] in named}
    for entry in found["suspects"]:
        entry["file"] = files[entry["id"]]
    for entry in found["exchanged"] + found["copies"] + found["doubles"]:
        entry["files"] = [files[name] for name in entry["ids"]]
    leave_out = {}
    for ring in found["exchanged"]:
        ring["words"] = ring_words(ring, files)
        leave_out |= dict.fromkeys(ring["ids"], f"{ring['words']}; put them right and convert again")
    for job in jobs.values():
        ids = {item["id"] for item in job["items"]}
        job["leave_out"] = {name: reason for name, reason in leave_out.items() if name in ids}
    verified = f"{found['judged']} of {found['samples']} pictures against their labels, by a network"
    rest = "that pictures of hands in much the same place and pose were not exchanged"
    if found["looked_at"] < found["samples"]:
        rest += f", and the {found['samples'] - found['looked_at']} pictures that were not looked at"
    report = {"pictures": found, "verified_pictures": verified, "not_verified": rest}
    return Content(shift_words(found, files), notes(found, files), report)


def _file(source, item, folder):
    return os.path.relpath(source.picture(item), folder)


def _names(found):
    """All ids that the findings name, a set."""
    names = {entry["id"] for entry in found["suspects"]}
    for entry in found["exchanged"] + found["copies"] + found["doubles"]:
        names |= set(entry["ids"])
    for entry in found["shifted"]:
        names |= {entry["first"], entry["last"]}
    return names


def ring_words(ring, files):
    """A sentence on an exchange.  files: {id: file}, without those for which the id says enough."""
    pictures = " and ".join(files.get(name, name) for name in ring["ids"])
    fits = ", ".join(f"{before:.1f} -> {after:.1f}" for before, after in _fits(ring))
    whose = "the other's picture" if len(ring["ids"]) == 2 else "the next one's picture, the last the first's"
    samples = f" (samples {' and '.join(ring['ids'])})" if files else ""
    return f"{pictures} are exchanged{samples}: each label fits {whose} (fit {fits})"


def _named(name, files):
    return f"{files[name]} (sample {name})" if name in files else name


def _fits(ring):
    return zip(ring["fits"], ring["fits_exchanged"], strict=True)


def shift_words(found, files):
    """Sentences on shifted pictures, a list."""
    return [
        f"from {_named(entry['first'], files)} to {_named(entry['last'], files)} the labels fit the picture "
        f"{abs(entry['by'])} {'after' if entry['by'] > 0 else 'before'} theirs: put the pictures right, or "
        "give --check-pictures none if they are"
        for entry in found["shifted"]
    ]


def notes(found, files):
    """Sentences on what may be wrong and is kept, and on what was not looked at."""
    lines = []
    suspects = found["suspects"]
    if suspects:
        where = _named(suspects[0]["id"], files)
        lines.append(
            f"{len(suspects)} of {found['judged']} pictures fit their labels badly, the worst {where}: wrong "
            "pictures, wrong labels, or hands that the network does not know"
        )
        if len(suspects) > MANY * found["judged"]:
            lines[-1] += "; so many are rather the latter"
    for key, words in (("copies", "with other labels"), ("doubles", "with the same labels")):
        if found[key]:
            ids = found[key][0]["ids"]
            again = " and ".join(files.get(name, name) for name in ids[:3])
            lines.append(f"{len(found[key])} pictures occur more than once, {words}; the first: {again}")
    if found["looked_at"] < found["samples"]:
        lines.append(
            f"{found['looked_at']} of {found['samples']} pictures were looked at; see --check-pictures"
        )
    return lines


def picture_limit(text):
    """What --check-pictures takes: "all" -> None, "none" -> 0, or a number above 0."""
    if text in ("all", "none"):
        return None if text == "all" else 0
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0, nor all, nor none")
    return int(text)
