"""What keeps a container from being made."""


class ConfigFailure(Exception):
    """A container cannot be made from its spec: what stands as CreateContainerConfigError."""
