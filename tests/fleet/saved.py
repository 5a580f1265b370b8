"""Give a host back the state it was saved in, in place: cheaper than a new host, and not to be told from it."""

import contextlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from lab.hosts import Host
from lab.machine import LabError

# Kept open by syslogd: it is cut to what it was, never replaced.
LOG = "var/log/mail.log"
# File systems in memory, as host-boot mounts them.
VOLATILE = ("run", "dev/shm")
# What host-boot starts besides Postfix, by the beginning of the command line.
SERVICES = ("tini -- host-boot ", "sleep infinity", "busybox syslogd ", "sshd: /usr/sbin/sshd [listener]")
# As after postfix quick-stop: what a start checks at length has just been put there.
START = "touch /var/spool/postfix/quick-start && postfix start"

# Of a path: as long as it is the same, nothing changed the file.
Trace = tuple[int, ...]


@dataclass
class Saved:
    """A host at rest as it was saved: its files, what runs on it, and a Postfix that has read these files.

    Not in it are mounts, the network and the clock: a test that touches those makes them good itself.
    """

    host: Host
    copy: Path
    removed: set[str]
    volatile: set[str]
    traces: dict[str, Trace]
    logged: int

    def put_back(self) -> None:
        """Give the host this state again; what nothing has touched since is left alone, a running Postfix too."""
        _end_strays(self.host, spare_postfix=True)
        is_untouched = not self._touched() and self._postfix_has_been_idle()
        if not is_untouched:
            _end_strays(self.host, spare_postfix=False)
        root = self.host.root
        # Looked at only now, when nobody is left who changes anything.
        for path in sorted(self._touched()):
            self._put_back(path, root)
        for path in _paths(root, *VOLATILE) - self.volatile:
            _remove(root / path)
        (root / LOG).write_bytes((self.copy / LOG).read_bytes())
        if not is_untouched:
            self.host.run(["sh", "-c", START])
        self.traces = _traces(_own_files(self.host))
        self.logged = (root / LOG).stat().st_size

    def _touched(self) -> set[str]:
        """Return the paths that are not as they were saved."""
        now = _traces(_own_files(self.host))
        return {path for path in now.keys() | self.traces.keys() if now.get(path) != self.traces.get(path)}

    def _postfix_has_been_idle(self) -> bool:
        """Whether it runs, and has said nothing since."""
        path = self.host.root / LOG
        runs = any(command.startswith(_master(self.host)) for command, _ in _processes(self.host).values())
        if not runs or not path.exists():
            return False
        with path.open("rb") as log:
            is_whole = log.seek(0, os.SEEK_END) >= self.logged
            log.seek(self.logged)
            return is_whole and b" postfix/" not in log.read()

    def _put_back(self, path: str, root: Path) -> None:
        """Make one path what it was; below a directory that is gone, everything."""
        target = root / path
        sources = (
            [] if path in self.removed else [tree / path for tree in self._trees() if os.path.lexists(tree / path)]
        )
        if not sources or not _is_directory(sources[0]):
            _remove(target)
            if sources:
                shutil.copy2(sources[0], target, follow_symlinks=False)
        elif not _is_directory(target) or _is_opaque(_own_files(self.host) / path):
            _remove(target)
            target.mkdir()
            for name in {each.name for source in sources if source.is_dir() for each in source.iterdir()}:
                self._put_back(f"{path}/{name}", root)
        if sources:
            _own_alike(sources[0], target)

    def _trees(self) -> tuple[Path, Path]:
        """Where the saved files are: in the copy, else in the root that all hosts stand on."""
        return self.copy, self.host.directory / "lower"


def save(host: Host, copy: Path) -> Saved:
    """Save the state of a host at rest, with a copy of its own files in a directory that is not there yet."""
    own, root = _own_files(host), host.directory / "lower"
    traces = _traces(own)
    removed: set[str] = set()
    opaque: set[str] = set()
    copy.mkdir(parents=True)
    for path in sorted({*traces, LOG}):
        seen = (own / path).lstat()
        if stat.S_ISDIR(seen.st_mode):
            (copy / path).mkdir()
            if str(Path(path).parent) in opaque or _is_opaque(own / path):
                opaque.add(path)
                removed |= _paths(root, path) - traces.keys()
        elif stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0:
            # So overlayfs remembers that a path of the root was removed.
            removed.add(path)
            continue
        elif stat.S_ISREG(seen.st_mode) or stat.S_ISLNK(seen.st_mode):
            shutil.copy2(own / path, copy / path, follow_symlinks=False)
        else:
            raise LabError(f"{host.name} has {path}, which is no file that can be saved")
        _own_alike(own / path, copy / path)
    return Saved(host, copy, removed, _paths(host.root, *VOLATILE), traces, (own / LOG).stat().st_size)


def _own_files(host: Host) -> Path:
    """Everything in which a host differs from the root it stands on; only to be read while the host is up."""
    return host.directory / "upper"


def _paths(top: Path, *below: str) -> set[str]:
    """Return every path below some directories, relative to the top."""
    found = set()
    for start in below:
        for directory, names, files in os.walk(top / start):
            found |= {str((Path(directory) / name).relative_to(top)) for name in (*names, *files)}
    return found


def _traces(own: Path) -> dict[str, Trace]:
    """Return the trace of every path but the log: of a directory only what is not its content."""
    found = {}
    for path in _paths(own, "") - {LOG}:
        # What is gone already, such as a message that was delivered, is not there.
        with contextlib.suppress(FileNotFoundError):
            seen = (own / path).lstat()
            is_directory = stat.S_ISDIR(seen.st_mode)
            exact = (_is_opaque(own / path),) if is_directory else (seen.st_ino, seen.st_ctime_ns)
            # Sockets are made anew by whoever listens.
            if not stat.S_ISSOCK(seen.st_mode):
                found[path] = (seen.st_mode, seen.st_uid, seen.st_gid, *exact)
    return found


def _master(host: Host) -> str:
    """How the command line of its Postfix begins."""
    return f"{host.kind.daemons}/master "


def _processes(host: Host) -> dict[str, tuple[str, str]]:
    """Return the command line and the parent of each process, by its pid as the host counts."""
    found = {}
    for process in host.proc.iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                parent = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                found[process.name] = (os.fsdecode((process / "cmdline").read_bytes()).replace("\0", " "), parent)
    # Those without a command line have ended.
    return {pid: (command, parent) for pid, (command, parent) in found.items() if command}


def _end_strays(host: Host, *, spare_postfix: bool) -> None:
    """Kill what a boot would not have started; only the second look that finds nothing is believed."""
    clean = 0
    while clean < 2:
        processes = _processes(host)
        wanted = {pid for pid, (command, _) in processes.items() if command.startswith(SERVICES)}
        if len(wanted) < len(SERVICES):
            raise LabError(f"{host.name} has lost a service; there are {sorted(processes.values())}")
        if spare_postfix:
            masters = {pid for pid, (command, _) in processes.items() if command.startswith(_master(host))}
            wanted |= masters | {pid for pid, (_, parent) in processes.items() if parent in masters}
        strays = processes.keys() - wanted
        clean = 0 if strays else clean + 1
        if strays:
            host.run(["kill", "-KILL", *strays], check=False)


def _is_opaque(directory: Path) -> bool:
    """Whether overlayfs shows nothing of the root's directory of that name: it was removed and made anew."""
    return "trusted.overlay.opaque" in os.listxattr(directory)


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    if _is_directory(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _own_alike(source: Path, target: Path) -> None:
    """Give a path the owner, mode and times of another."""
    seen = source.lstat()
    os.chown(target, seen.st_uid, seen.st_gid, follow_symlinks=False)
    if not target.is_symlink():
        target.chmod(stat.S_IMODE(seen.st_mode))
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns), follow_symlinks=False)
