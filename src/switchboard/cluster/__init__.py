"""The one place where parts meet: what a cluster is made of, how it is started, kept running, and taken away again."""
