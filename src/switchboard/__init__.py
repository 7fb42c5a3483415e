"""Switchboard: a Kubernetes-compatible cluster whose subject is Services."""
