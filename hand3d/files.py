"""Files written by hand3d: atomically, under names that do not collide."""

import os
import tempfile
from collections import Counter

PICTURE_SUFFIX = ".hand3d.png"  # hand.jpg -> hand.hand3d.png: never the name of an input


def is_own_picture(name):
    """Whether `name` is a picture that hand3d wrote."""
    return name.lower().endswith(PICTURE_SUFFIX)


def write_atomic(path, content):
    """Write bytes so that `path` has all of them or is untouched.  OSError where that is impossible."""
    folder = os.path.dirname(path) or "."
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".hand3d-", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def current_umask():
    """The process's file mode mask (mkstemp ignores it; os can only read it by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def picture_names(paths):
    """One file name per path: its stem, with folder, extension or a number added where stems are equal.

    Comparison ignores case, as some file systems do.  Depends on the set of paths alone, not on what exists.
    """
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    count = Counter(stem.lower() for stem in stems)
    names, taken = [], set()
    for path, stem in zip(paths, stems, strict=True):
        if count[stem.lower()] > 1:
            folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
            stem = "_".join(part for part in (folder, os.path.basename(path)) if part)
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names.append(name + PICTURE_SUFFIX)
    return names


class JsonLines:
    """Lines that appear in `path` all at once, when the context ends; finished lines survive an interruption.

    An error before the first line leaves `path` as it was.  A path that exists and is no regular file
    (/dev/stdout, a pipe) is written to directly.  OSError on entering if the file cannot be made.
    """

    def __init__(self, path):
        self.path = path
        self.entered = False

    def __enter__(self):
        self._temporary, self._count = None, 0
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            self._file = open(self.path, "w", encoding="utf-8")
        else:
            target = os.path.realpath(self.path)  # replace what a link points at, not the link
            if os.path.exists(target) and not os.access(target, os.W_OK):
                raise PermissionError(13, "Permission denied", self.path)
            descriptor, self._temporary = tempfile.mkstemp(
                dir=os.path.dirname(target), prefix=".hand3d-", suffix=".part"
            )
            self._file = os.fdopen(descriptor, "w", encoding="utf-8")
            self._target = target
        self.entered = True
        return self

    def write(self, line):
        """Append one line (str without its newline)."""
        self._file.write(line + "\n")
        self._file.flush()
        self._count += 1

    def __exit__(self, kind, error, trace):
        try:
            self._file.close()
            if self._temporary and (self._count or kind is None):
                os.chmod(self._temporary, 0o666 & ~current_umask())
                os.replace(self._temporary, self._target)
                self._temporary = None
        finally:
            if self._temporary:
                os.unlink(self._temporary)
