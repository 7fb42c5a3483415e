"""`switchboard <verb>`: a table of verbs, each in a module that is imported only when it is used, because most of a
quick verb's time is imports. Failures of the cluster come out as three lines: what failed, why, what to do.
"""

from __future__ import annotations

import importlib
import signal
import sys
from types import ModuleType

# verb -> (module, one line)
VERBS: dict[str, tuple[str, str]] = {
    "up": ("up", "start the cluster, or make sure it runs"),
    "down": ("down", "stop the cluster and leave nothing running; objects stay"),
    "delete": ("down", "stop the cluster and forget everything it was"),
    "status": ("status", "what runs, with memory, and whether the node is ready"),
    "kubectl": ("kubectl", "run kubectl against the cluster"),
    "ip": ("ip", "print the node's address"),
    "kubeconfig": ("kubeconfig", "print the cluster's kubeconfig"),
    "image": ("image", "load images from files, list what can be pulled"),
    "logs": ("logs", "show what the cluster's own processes say"),
    "version": ("version", "print versions"),
    "server": ("role", "run the API server alone (for development)"),
    "node": ("role", "run a node against any Kubernetes API"),
    "dns": ("role", "run the cluster DNS against any Kubernetes API"),
    "proxy": ("role", "run the Service proxy against any Kubernetes API"),
}
_ROLES = ("server", "node", "dns", "proxy")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb. Returns the exit status: 0 good, 1 failed, 2 wrongly called."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = _take_name(words)
    if words[:1] == ["--name"]:
        print("switchboard: --name needs the name of a cluster\nwhat to do: switchboard --help", file=sys.stderr)
        return 2
    if words[:1] == ["help"] and len(words) > 1:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    verb = words.pop(0)
    if verb in ("--version", "-V"):
        verb = "version"
    if verb not in VERBS:
        print(f"switchboard: there is no verb {verb!r}{_nearest(verb)}\n\n{usage()}", file=sys.stderr)
        return 2
    return _run(verb, words, name, alone=arguments is None)


def usage() -> str:
    """The top page."""
    lines = [
        "Switchboard: a Kubernetes-compatible cluster on this machine.",
        "",
        "usage: switchboard [--name CLUSTER] VERB ...",
    ]
    lines += ["", "verbs:"]
    lines += [f"  {verb:<11} {text}" for verb, (_, text) in VERBS.items() if verb not in _ROLES]
    lines += ["", "roles, each its own process:"]
    lines += [f"  {verb:<11} {VERBS[verb][1]}" for verb in _ROLES]
    lines += [
        "",
        "start here:",
        "  switchboard up",
        "  kubectl get nodes",
        "",
        "switchboard VERB --help says more and has examples.",
    ]
    return "\n".join(lines)


def _run(verb: str, words: list[str], name: str | None, *, alone: bool) -> int:
    from switchboard.cluster.errors import ClusterError

    module: ModuleType = importlib.import_module(f"switchboard.cli.{VERBS[verb][0]}")
    if alone and verb not in _ROLES:  # roles have their own way to end
        _listen_to_signals()
    try:
        status: int = module.run(verb, words, name)
        sys.stdout.flush()
        return status
    except ClusterError as error:
        return fail(verb, error.message, error.advice)
    except KeyboardInterrupt:
        print(f"\nswitchboard {verb}: interrupted; run it again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as `| head` does
        return 141
    except PermissionError as error:
        return fail(verb, f"not permitted: {error}", "run as root")
    except OSError as error:  # the disk is full, a file is where a folder should be
        return fail(verb, f"the system refused: {error}", "mend that, then run it again: it goes on where it was")


def _listen_to_signals() -> None:
    """What ends a verb from outside is an exception from now on, so that it gives back what it holds. Before, while
    modules were imported, it ended the process at once: they do not bear an exception anywhere.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def fail(verb: str, message: str, advice: str = "") -> int:
    """Say what failed, why, and what to do. Returns 1."""
    print(f"switchboard {verb}: {message}", file=sys.stderr)
    if advice:
        print(f"what to do: {advice}", file=sys.stderr)
    return 1


def _take_name(words: list[str]) -> str | None:
    """`--name X` before the verb, which every verb also takes after it."""
    if words and words[0].startswith("--name="):
        return words.pop(0).partition("=")[2]
    if len(words) > 1 and words[0] == "--name":
        words.pop(0)
        return words.pop(0)
    return None


def _nearest(verb: str) -> str:
    import difflib

    found = difflib.get_close_matches(verb, VERBS, 1)
    return f"; did you mean {found[0]!r}?" if found else ""
