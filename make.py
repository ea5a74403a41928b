#!/usr/bin/env python3
"""Makes the isolated environment in .venv, then runs the study, the tests or the figures in it.

    python3 make.py study [migstudy study options]    the whole study (default: --profile quick)
    python3 make.py test [pytest options]             the tests
    python3 make.py figures [options]                 every figure again, from stored runs
    python3 make.py env                               only the environment
    python3 make.py clean [--all]                     caches; with --all the environment too (never data or runs)

Needs Python 3.11 or 3.12 and nothing else. The environment is made once; a later call finds it ready.
"""
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

SUPPORTED = ((3, 11), (3, 12))
ROOT = Path(__file__).resolve().parent
ROOM_NEEDED = 9e9  # bytes free while torch and its libraries are unpacked


class MakeError(Exception):
    """A failure the reader can act on; its text is all that is shown."""


class Environment:
    """The virtual environment of a checkout: `root`/.venv, known good by the stamp inside it."""

    def __init__(self, root):
        self.root = Path(root)
        self.folder = self.root / ".venv"
        self.stamp = self.folder / "migstudy-stamp.json"
        self.building = self.folder / "migstudy-building"  # there while an install is under way
        self.log = self.folder / "migstudy-install.log"
        self.bin = self.folder / ("Scripts" if os.name == "nt" else "bin")

    def program(self, name):
        return self.bin / (name + ".exe" if os.name == "nt" else name)

    def wanted(self):
        """What the stamp must say: inputs of the install, the Python and the place (scripts hold absolute paths)."""
        inputs = hashlib.sha256()
        for name in ("requirements.lock", "pyproject.toml"):
            text = (self.root / name).read_text(encoding="utf-8")  # text: line endings differ between checkouts
            inputs.update(text.encode() + b"\0")
        return {"inputs": inputs.hexdigest(), "python": "%d.%d" % sys.version_info[:2], "folder": str(self.folder)}

    def state(self):
        """'ready', 'outdated' (install again on top), 'foreign' (same, not made here), 'broken' or 'absent'."""
        if not self.folder.exists():
            return "absent"
        if self.building.exists() or not self.program("python").exists():
            return "broken"
        try:
            found = json.loads(self.stamp.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return "foreign"
        except ValueError:
            return "broken"
        wanted = self.wanted()
        if found == wanted:
            return "ready"
        return "outdated" if all(found.get(k) == wanted[k] for k in ("python", "folder")) else "broken"

    def ensure(self):
        """Bring the environment to the lock file's exact versions; nothing to do when the stamp agrees."""
        if self.state() == "ready":
            return
        with one_at_a_time(self.root / ".venv.lock"):
            state = self.state()  # another call may have finished it while this one waited
            if state == "ready":
                return
            start = time.monotonic()
            if state == "foreign":
                self.adopt()
            elif state != "outdated":
                self.create(state)
            self.building.touch()
            self.stamp.unlink(missing_ok=True)
            self.install()
            aside = self.stamp.with_suffix(".partial")
            aside.write_text(json.dumps(self.wanted(), indent=1) + "\n", encoding="utf-8")
            os.replace(aside, self.stamp)
            self.building.unlink()
            say("environment ready in %.0f s: %s" % (time.monotonic() - start, self.folder))

    def create(self, state):
        say("making %s with Python %d.%d.%d%s" % (self.folder, *sys.version_info[:3],
            " (the one there is unfinished, moved or of another Python)" if state == "broken" else ""))
        if self.folder.is_symlink() or self.folder.is_file():
            raise MakeError("%s is not a folder: remove it, then call again" % self.folder)
        free = shutil.disk_usage(self.root).free
        if free < ROOM_NEEDED:
            say("only %.1f GB free here; the environment needs about %.0f GB" % (free / 1e9, ROOM_NEEDED / 1e9))
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.building.touch()
        try:
            venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(self.folder)
        except (subprocess.CalledProcessError, ImportError) as error:
            raise MakeError(
                "this Python cannot make an environment with pip (%s).\nOn Debian or Ubuntu: sudo apt install "
                "python%d.%d-venv, then call again" % (error, *sys.version_info[:2])) from None

    def adopt(self):
        """Take over an environment made by hand, if it can serve."""
        question = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([str(self.program("python")), "-c", question], env=self.variables(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if answer.returncode or answer.stdout.strip() != self.wanted()["python"]:
            raise MakeError("%s was not made by make.py and has no pip or not Python %s: move it away, or delete it "
                            "with python3 make.py clean --all" % (self.folder, self.wanted()["python"]))
        say("using the environment already in %s" % self.folder)

    def install(self):
        lock = self.root / "requirements.lock"
        total = sum(line[:1].isalnum() for line in lock.read_text(encoding="utf-8").splitlines())
        say("installing up to %d locked packages (several GB the first time); log: %s" % (total, self.log))
        self.log.write_text("", encoding="utf-8")
        self.pip(["-r", str(lock)], total)
        # the builder is pinned by the lock as well, so nothing outside it is fetched
        self.pip(["--no-deps", "--no-build-isolation", "-e", str(self.root)], 0)

    def pip(self, arguments, total):
        command = [str(self.program("python")), "-m", "pip", "install", "--progress-bar", "off", *arguments]
        with open(self.log, "a", encoding="utf-8") as log:
            process = subprocess.Popen(command, cwd=self.root, env=self.variables(), stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace")
            try:
                progress(process.stdout, log, total)
            finally:
                if process.poll() is None and sys.exc_info()[0] is not None:
                    process.terminate()
                process.wait()
        if process.returncode:
            tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
            raise MakeError("pip could not install what %s asks for:\n  %s\nWhole log: %s\nNothing is lost: call again "
                            "when it is repaired (network, disk room)" % (arguments[-1], "\n  ".join(tail), self.log))

    def variables(self):
        """The caller's variables without those that would let other packages in."""
        env = {k: v for k, v in os.environ.items()
               if k not in ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")}
        env.update(VIRTUAL_ENV=str(self.folder), PATH=str(self.bin) + os.pathsep + env.get("PATH", os.defpath),
                   PYTHONNOUSERSITE="1", PIP_DISABLE_PIP_VERSION_CHECK="1",
                   JUPYTER_PREFER_ENV_PATH="1")  # a kernel of that name in the home folder must not win
        return env

    def run(self, *command):
        """Run a command of the environment in the checkout and give its exit code (where possible, become it)."""
        program = str(self.program(command[0]))
        if not os.path.exists(program):
            raise MakeError("%s is missing: python3 make.py clean --all, then call again" % program)
        os.chdir(self.root)
        if os.name != "nt":  # one process, so that signals and exit codes need no relay
            os.execve(program, [program, *command[1:]], self.variables())
        return subprocess.call([program, *command[1:]], env=self.variables())


def progress(lines, log, total):
    """Copy pip's lines to the log; show how many packages it has looked at."""
    seen, live = 0, sys.stdout.isatty()
    for line in lines:
        log.write(line)
        if total and line.startswith(("Collecting ", "Requirement already satisfied: ")):
            seen += 1
            name = line.split(": ")[-1].replace("Collecting ", "").split(" ")[0].strip()
            if live:
                print("\r  %3d of %d  %-40.40s" % (min(seen, total), total, name), end="", flush=True)
            elif seen % 40 == 0:
                print("  %3d of %d" % (min(seen, total), total), flush=True)
        elif total and line.startswith("Installing collected packages"):
            print(("\r" if live else "") + "  %-56s" % "unpacking (a minute or two)", flush=True)
    if total and live:
        print("\r" + " " * 60, end="\r", flush=True)


@contextlib.contextmanager
def one_at_a_time(path):
    """Hold a lock that the system drops when this process ends, however it ends."""
    with open(path, "a+") as handle:
        if os.name == "nt":
            import msvcrt
            handle.seek(0)
            attempt = lambda: msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl
            attempt = lambda: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        told = False
        while True:
            try:
                attempt()
                break
            except OSError:
                if not told:
                    say("another call is making the environment; waiting for it")
                    told = True
                time.sleep(1)
        yield


def clean(root, everything):
    """Delete what can be made again: caches and build folders; the environment only when asked."""
    names = [".pytest_cache", ".hypothesis", "build", "dist"] + ([".venv", ".venv.lock"] if everything else [])
    found = [root / name for name in names] + list(root.glob("*.egg-info"))
    for folder in ("migstudy", "tests", "benchmarks", "notebooks"):
        found += [p for name in ("__pycache__", ".ipynb_checkpoints") for p in (root / folder).rglob(name)]
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()


def say(text):
    print("[make] " + text, flush=True)


def check_python():
    if sys.version_info[:2] in SUPPORTED:
        return
    others = [name for name in ("python3.12", "python3.11") if shutil.which(name)
              and subprocess.call([name, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0]
    raise MakeError("migstudy needs Python 3.11 or 3.12; this is %d.%d (%s).\n%s" % (
        *sys.version_info[:2], sys.executable,
        "Found here: %s. Call: %s make.py %s" % (", ".join(others), others[0], " ".join(sys.argv[1:])) if others
        else "Install one of them (python.org, pyenv, uv, conda), then call make.py with it"))


def main(arguments):
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0 if arguments else 2
    task, rest = arguments[0], arguments[1:]
    if task == "clean":
        clean(ROOT, "--all" in rest)
        return 0
    if task not in ("study", "test", "figures", "env"):
        raise MakeError("no task %r; there are: study, test, figures, env, clean" % task)
    check_python()
    environment = Environment(ROOT)
    environment.ensure()
    if task == "study":
        profile = [] if any(a.split("=")[0] == "--profile" for a in rest) else ["--profile", "quick"]
        return environment.run("migstudy", "study", *profile, *rest)
    if task == "test":
        return environment.run("python", "-m", "pytest", *rest)
    if task == "figures":
        return environment.run("migstudy", "figures", *rest)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MakeError as error:
        sys.exit("[make] " + str(error))
    except KeyboardInterrupt:
        sys.exit("\n[make] interrupted; call again to go on")
