"""Where on a host somebody else could find a secret."""

from __future__ import annotations

from support.scenario import remote

# Everything on a host in which somebody else could find a secret: what all may read, logs, and the command
# lines and environments of processes.
LOOK_FOR_SECRETS = """
import glob, os, shutil, stat, subprocess
assert shutil.which("setpriv")
def told(where, content):
    for name, secret in given.items():
        # A key's longest line stands for it, however it is quoted.
        if max(secret.splitlines(), key=len).encode() in content:
            print(where, "holds", name)
told("the journal", subprocess.run(["journalctl", "--no-pager"], capture_output=True, check=True).stdout)
for process in glob.glob("/proc/[0-9]*"):
    try:
        owner = os.stat(process)
        if int(process.split("/")[2]) == os.getpid():
            continue
        told(process + "/cmdline", open(process + "/cmdline", "rb").read())
        # In a container root may not read every environment; what its own user may not read, nobody may.
        read = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
        found = subprocess.run([*read, "cat", process + "/environ"], capture_output=True)
        told(process + "/environ", found.stdout)
    except (FileNotFoundError, ProcessLookupError):
        pass
for root in ("/etc", "/var", "/tmp", "/run", "/home", "/root", "/opt", "/usr/local", "/srv", "/dev/shm"):
    for directory, _, names in os.walk(root):
        for path in (os.path.join(directory, name) for name in names):
            try:
                mode = os.lstat(path).st_mode
                if stat.S_ISREG(mode) and (mode & stat.S_IROTH or path.startswith("/var/log")):
                    told(path, open(path, "rb").read())
            except FileNotFoundError:
                pass
"""


def leaks(name: str, secrets: dict[str, str]) -> str:
    """Return where on a host somebody else could find one of these secrets; empty if nowhere."""
    __tracebackhide__ = True
    return remote(name, LOOK_FOR_SECRETS, secrets)


def shown_secrets(text: str, secrets: dict[str, str]) -> list[str]:
    """Return the names of the secrets that a text shows, whole or the first line of a key."""
    __tracebackhide__ = True
    shown = {name: max(secret.splitlines(), key=len) for name, secret in secrets.items()}
    return sorted(name for name, line in shown.items() if line in text)
