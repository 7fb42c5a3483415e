"""Where a pod runs: pure filters and scores over a snapshot of nodes, and the loop that binds."""
