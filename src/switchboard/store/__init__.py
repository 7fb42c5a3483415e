"""Keys, bytes, revisions and their feed of changes, durable on disk; knows neither HTTP nor Kubernetes."""
