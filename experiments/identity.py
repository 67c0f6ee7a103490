"""What numbers were measured with: the identity of data, weights and code, without anybody's folders."""

import hashlib
import os
import subprocess


def data_identity(source, split, samples):
    """What was measured on, without its folder: dict of name, split, samples and sha256.

    source: folder of records or of RHD's layout, file of `pipelines.poses`, or a list of these; the hash is
    that of the split's shards, of the annotation file or of the file, in order.
    """
    sources = [source] if isinstance(source, str) else list(source)
    digest, names = hashlib.sha256(), []
    for one in sources:
        names.append(os.path.basename(os.path.abspath(one)))
        for path in _files(one, split):
            digest.update(_sha256(path))
    return {
        "name": ", ".join(names),
        "split": split,
        "samples": int(samples),
        "sha256": digest.hexdigest(),
    }


def _files(source, split):
    """The files of a data set that the numbers depend on."""
    from pipelines.convert import rhd
    from pipelines.records import mixed, read_info, shard_paths
    from pipelines.schema import INFO

    if not os.path.isdir(source):
        return [source]
    if not os.path.isfile(os.path.join(source, INFO)):
        return [rhd.split_file(source, split)]
    parts = [part for part, _ in mixed(source) if split in read_info(part)["splits"]] or [source]
    return [path for part in parts for path in shard_paths(part, split)]


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.digest()


def weights_identity(weights, roles=None):
    """{"name", "sha256"} of a weight set by name or folder: one hash of all its networks' hashes.

    roles: those that a result depends on, which then stand under "roles"; None for all.  WeightsError where
    there is no such set.
    """
    from hand3d import manifest

    weight_set = manifest.find(weights)
    entries = manifest.network_entries(weight_set)
    digest = hashlib.sha256()
    for role in sorted(entries if roles is None else set(roles) & set(entries)):
        parts = entries[role].get("shards") or [entries[role]]
        digest.update(" ".join([role, *(part["sha256"] for part in parts)]).encode())
    of = {} if roles is None else {"roles": sorted(roles)}
    return {"name": weight_set.name, "sha256": digest.hexdigest()} | of


def revision():
    """The checkout's commit, with "+" where tracked code has changed since; None outside of git."""
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/*.py")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit[:12] + ("+" if changed else "")


def _git(folder, *arguments):
    command = ["git", "-C", folder, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
