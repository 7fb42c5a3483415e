"""What Kubernetes objects are: pure functions over plain dicts, knowing neither HTTP nor the store."""
