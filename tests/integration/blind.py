"""A pool whose workers see none of the parent's folders, as on another machine: what a job reads is brought to them first, and
what it writes is fetched afterwards.

A worker runs in a mount namespace in which the parent's folders are empty. What is brought lies in a folder of its own.
"""

import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path

from onnxbench.models import onnx_file
from onnxbench.runners.pool.pool import Local
from onnxbench.runners.worker.jobs import Here, There
from onnxbench.runners.worker.tasks import task_of
from onnxbench.spec import Artifact, Source

ENTER = """#!{python}
import ctypes, os, sys
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
libc = ctypes.CDLL(None, use_errno=True)
def must(result):
    if result:
        sys.exit(f"cannot hide a folder: {{os.strerror(ctypes.get_errno())}}")
must(libc.unshare(CLONE_NEWNS))
must(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
must(libc.mount(b"tmpfs", {hidden!r}, b"tmpfs", 0, None))
os.chdir({home!r})
os.environ["ONNXBENCH_CACHE"] = {home!r} + "/cache"
os.environ["PYTHONPATH"] = {packages!r}
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


@dataclass(kw_only=True)
class Blind:
    """`hidden`: the folder that workers find empty. `asked`: the names of the jobs that were done. `packages`: a folder of
    packages that the workers have too."""

    hidden: Path
    packages: str = ""
    local: Local = field(default_factory=Local)
    asked: list = field(default_factory=list)
    homes: list = field(default_factory=list)

    def start(self, log, python=sys.executable, *, network=False):
        home = Path(tempfile.mkdtemp(prefix="blind-"))
        self.homes.append(home)
        enter = home / "python"
        enter.write_text(ENTER.format(python=python, hidden=str(self.hidden).encode(), home=str(home), packages=self.packages))
        enter.chmod(enter.stat().st_mode | stat.S_IXUSR)
        return Worker(inner=self.local.start(log, str(enter), network=network), pool=self, home=home)

    def host(self):
        return self.local.host()

    def threads(self):
        return self.local.threads()

    def memory_free_mb(self):
        return self.local.memory_free_mb()

    def contiguous_memory(self):
        return self.local.contiguous_memory()

    def gpu_free_mb(self, index):
        return self.local.gpu_free_mb(index)

    def close(self):
        for home in self.homes:
            shutil.rmtree(home)


@dataclass(kw_only=True)
class Worker:
    """A worker that sees `home` alone."""

    inner: object
    pool: Blind
    home: Path
    count: int = 0

    @property
    def network(self):
        return self.inner.network

    @property
    def begin_ns(self):
        return self.inner.begin_ns

    @property
    def can_pause(self):
        return self.inner.can_pause

    def pause(self):
        self.inner.pause()

    def resident_mb(self):
        return self.inner.resident_mb()

    def kill(self):
        self.inner.kill()

    def dismiss(self):
        self.inner.dismiss()

    def __enter__(self):
        return self

    def __exit__(self, *about):
        self.inner.__exit__(*about)

    def ask(self, job, timeout_s, on_report=None):
        self.send(job)
        return self.receive(job, timeout_s, on_report)

    def send(self, job):
        self.theirs, self.written = None, []
        self.theirs = moved(job, {Here: self._brought, There: self._placed, Artifact: self._file})
        self.inner.send(self.theirs)

    def receive(self, job, timeout_s, on_report=None):
        answer = self.inner.receive(self.theirs, timeout_s, on_report)
        self.pool.asked.append(task_of(type(job)).name)
        for place, path in self.written:
            fetch(place, path)
        return moved(answer, {There: self._fetched})

    def _new(self, name):
        self.count += 1
        return self.home / f"{self.count}" / name

    def _brought(self, here):
        return Here(path=str(self._bring(Path(here.path))))

    def _bring(self, path):
        place = self._new(path.name)
        fetch(path, place)
        return place

    def _placed(self, there):
        place = self._new(Path(there.path).name)
        place.parent.mkdir(parents=True)
        self.written.append((place, Path(there.path)))
        return There(path=str(place))

    def _file(self, artifact):
        place = self._new(Path(artifact.path).name)
        fetch(Path(artifact.path), place)
        for part in onnx_file.external_files(Path(artifact.path)):
            fetch(part, place.parent / part.relative_to(Path(artifact.path).parent))
        converted = artifact.converted and str(self._bring(Path(artifact.converted)))
        source = artifact.source and self._source(artifact.source)
        return replace(artifact, path=str(place), source=source, converted=converted)

    def _source(self, source):
        return Source(factory=source.factory, weights=source.weights and str(self._bring(Path(source.weights))))

    def _fetched(self, there):
        path = Path(tempfile.mkdtemp(dir=self.pool.hidden)) / Path(there.path).name
        fetch(Path(there.path), path)
        return There(path=str(path))


def fetch(path, to):
    """Copies a file or a folder."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, to, dirs_exist_ok=True)
    elif path.exists():
        shutil.copyfile(path, to)


def moved(value, how):
    """`value` with every value of a type in `how` replaced by what that makes of it."""
    if type(value) in how:
        return how[type(value)](value)
    if isinstance(value, tuple):
        return tuple(moved(item, how) for item in value)
    if is_dataclass(value):
        changed = {part.name: moved(getattr(value, part.name), how) for part in fields(value)}
        return replace(value, **{name: new for name, new in changed.items() if new is not getattr(value, name)})
    return value
