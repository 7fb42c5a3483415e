"""Who is asking: the identity that authentication found, and the well-known users and groups."""

from __future__ import annotations

from dataclasses import dataclass, field

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as `authentication.k8s.io/v1 UserInfo` has it. `extra` maps lower-case keys to tuples of values."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())

    @property
    def is_master(self) -> bool:
        """Whether every authorisation check is skipped (upstream's privileged group authorizer)."""
        return MASTERS in self.groups

    def user_info(self) -> dict[str, object]:
        """The identity as a `UserInfo` object, empty fields left out."""
        info: dict[str, object] = {"username": self.user}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra}
        return info


ANONYMOUS = Identity("system:anonymous", (UNAUTHENTICATED,))
LOOPBACK = Identity("system:apiserver", (MASTERS, AUTHENTICATED))
