"""Pods become containers: the kubelet's job on one node, through containerd's CRI."""
