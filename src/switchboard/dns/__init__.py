"""Cluster DNS: the names of Services, endpoints and pods become addresses (Kubernetes DNS specification 1.1.0)."""
