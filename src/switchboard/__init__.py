"""Switchboard: a Kubernetes-compatible cluster whose subject is Services."""

from switchboard.compiled.load import install

install()
