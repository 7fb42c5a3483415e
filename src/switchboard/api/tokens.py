"""Service-account tokens: issued by TokenRequest, bound to a pod, secret or node, and checked on every request.

A token is verified once; after that, a request costs a dict access and one look at each object the token is bound to
(the same stored record as before: still the same object). Sources: KEP-1205, `pkg/serviceaccount/claims.go`,
`pkg/registry/core/serviceaccount/storage/token.go`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from switchboard.api import authn, bodies, query, representing
from switchboard.api.admission.chain import Operation
from switchboard.api.call import Call
from switchboard.api.identity import AUTHENTICATED, Identity
from switchboard.api.jwt import InvalidToken, SigningKey, unverified_claims
from switchboard.api.keyspace import decode
from switchboard.api.metadata import new_uid, parse_time
from switchboard.objects.errors import BadRequest, Conflict, FieldError, Invalid, NotFound, Unauthorized
from switchboard.store.record import Record
from switchboard.store.store import Store
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.settings import Settings

Object = dict[str, Any]

USER_PREFIX = "system:serviceaccount:"
ALL_ACCOUNTS = "system:serviceaccounts"
_REQUEST = "io.k8s.api.authentication.v1.TokenRequest"
_EXTRA = "authentication.kubernetes.io/"
_DEFAULT_SECONDS = 3600
_MIN_SECONDS, _MAX_SECONDS = 600, 1 << 32
_WARN_AFTER = 3607  # what admission asks for in pods: such a token serves a year, and old clients get a warning
_EXTENDED = 365 * 24 * 3600
_LEEWAY = 60.0  # seconds of clock skew, and of a deleted account's tokens
_KEPT = 4096
_BINDINGS = {"pod": "/core/pods/{namespace}/{name}", "secret": "/core/secrets/{namespace}/{name}"}


def username(namespace: str, name: str) -> str:
    """The user that a service account is."""
    return f"{USER_PREFIX}{namespace}:{name}"


def groups(namespace: str) -> tuple[str, ...]:
    """The groups of a namespace's service accounts."""
    return (ALL_ACCOUNTS, f"{ALL_ACCOUNTS}:{namespace}", AUTHENTICATED)


def identity_of(claims: Object) -> Identity:
    """The identity that verified claims stand for."""
    private = claims["kubernetes.io"]
    namespace, account = private["namespace"], private["serviceaccount"]
    extra: dict[str, tuple[str, ...]] = {}
    if claims.get("jti"):
        extra["credential-id"] = (f"JTI={claims['jti']}",)
    for what in ("pod", "node"):
        bound = private.get(what)
        if bound:
            extra[f"{what}-name"] = (bound.get("name", ""),)
            if bound.get("uid"):
                extra[f"{what}-uid"] = (bound["uid"],)
    prefixed = tuple(sorted((_EXTRA + key, values) for key, values in extra.items()))
    return Identity(username(namespace, account["name"]), groups(namespace), account["uid"], prefixed)


@dataclass(slots=True)
class _Bound:
    """An object a token is bound to, and the record that was last seen to be it."""

    key: str
    uid: str
    record: Record | None = None


@dataclass(slots=True)
class _Known:
    """A token whose signature was checked."""

    identity: Identity
    audiences: tuple[str, ...]
    not_before: float
    expires: float
    bound: tuple[_Bound, ...]


class Tokens:
    """Issues and knows the cluster's service-account tokens."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._key: SigningKey | None = None
        self._known: dict[str, _Known] = {}

    @property
    def key(self) -> SigningKey:
        """The signing key, read on first use."""
        if self._key is None:
            self._key = SigningKey(self._settings.service_account_key)
        return self._key

    @property
    def issuer(self) -> str:
        """What stands in `iss`, and the audience of tokens that name none."""
        return self._settings.service_account_issuer

    # Knowing

    def authenticate(self, request: Request) -> Identity | None:
        """An authenticator: None where there is no token of this issuer; Unauthorized for a bad one of it."""
        token = authn.bearer_of(request)
        if token is None:
            return None
        found = self.know(token, (self.issuer,))
        return found[0] if found is not None else None

    def know(self, token: str, audiences: tuple[str, ...]) -> tuple[Identity, tuple[str, ...]] | None:
        """(identity, the audiences in common with those wanted); None for tokens of others; Unauthorized."""
        known = self._known.get(token)
        if known is None:
            if token.count(".") != 2:
                return None
            try:
                claims = unverified_claims(token)
                if "iss" not in claims or claims["iss"] not in (self.issuer, _LEGACY_ISSUER):
                    return None
                known = self._learn(token, self.key.verify(token))
            except InvalidToken:
                raise Unauthorized("Unauthorized") from None
        shared = tuple(a for a in known.audiences if a in audiences)
        moment = time.time()
        if not shared or moment < known.not_before - _LEEWAY or moment > known.expires + _LEEWAY:
            raise Unauthorized("Unauthorized")
        for bound in known.bound:
            if not self._still_there(bound, moment):
                raise Unauthorized("Unauthorized")
        return known.identity, shared

    def _learn(self, token: str, claims: Object) -> _Known:
        try:
            known = _legacy(claims, self.issuer) if claims["iss"] == _LEGACY_ISSUER else _current(claims)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InvalidToken("claims are missing") from None
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[token] = known
        return known

    def _still_there(self, bound: _Bound, moment: float) -> bool:
        record = self._store.get(bound.key)
        if record is None:
            return False
        if record is bound.record:
            return True
        meta = decode(record.value)["metadata"]
        if bound.uid and meta.get("uid") != bound.uid:
            return False
        deleted = meta.get("deletionTimestamp")
        if deleted:  # not remembered: it becomes false by itself
            return moment < parse_time(deleted).timestamp() + _LEEWAY
        bound.record = record
        return True

    # Issuing

    async def create(self, call: Call) -> Response:
        """POST serviceaccounts/<name>/token."""
        call.options = query.write_options(call.params, "CreateOptions")
        body = bodies.decode(call, call.kind, _REQUEST, ("authentication.k8s.io/v1", "TokenRequest"))
        record = self._store.head(f"/core/serviceaccounts/{call.namespace}/{call.name}")
        self._check_names(call, body)
        if record is None:
            raise NotFound.of("serviceaccounts", "", call.name)
        _fill_in(body)
        operation = Operation(call, "CREATE", body, None, call.namespace, call.name)
        await call.app.admission.mutate(operation)
        spec = _fill_in(body)
        _check_seconds(spec["expirationSeconds"])
        spec["audiences"] = spec.get("audiences") or [self.issuer]
        await call.app.admission.validate(operation)
        moment = time.time()
        account = decode(record.value)
        claims = self._claims(call, account, spec, int(moment))
        meta = {"name": call.name, "namespace": call.namespace, "creationTimestamp": _rfc3339(moment)}
        status = {"token": self.key.sign(claims), "expirationTimestamp": _rfc3339(moment + spec["expirationSeconds"])}
        answer: Object = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {**(body.get("metadata") or {}), **meta},
            "spec": {"audiences": spec["audiences"], "expirationSeconds": spec["expirationSeconds"]},
            "status": status,
        }
        answer["spec"]["boundObjectRef"] = spec.get("boundObjectRef")
        return representing.shown_object(call, answer, 201)

    @staticmethod
    def _check_names(call: Call, body: Object) -> None:
        meta = body.get("metadata") or {}
        for field, wanted, word in (("name", call.name, "name"), ("namespace", call.namespace, "namespace")):
            given = meta.get(field)
            if given and given != wanted:
                text = f'Invalid value: "{given}": must match the service account {word} if specified'
                error = FieldError("FieldValueInvalid", f"metadata.{field}", text)
                raise Invalid.of("TokenRequest", "authentication.k8s.io", call.name, [error])

    def _claims(self, call: Call, account: Object, spec: Object, moment: int) -> Object:
        meta = account["metadata"]
        seconds = spec["expirationSeconds"]
        private: Object = {
            "namespace": call.namespace,
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        reference = spec.get("boundObjectRef")
        if reference:
            private |= self._bind(call, reference)
        expires = moment + seconds
        if "pod" in private and seconds == _WARN_AFTER and spec["audiences"] == [self.issuer]:
            private["warnafter"] = expires
            expires = moment + _EXTENDED
        return {
            "iss": self.issuer,
            "sub": username(call.namespace, meta["name"]),
            "aud": spec["audiences"],
            "iat": moment,
            "nbf": moment,
            "exp": expires,
            "jti": new_uid(),
            "kubernetes.io": private,
        }

    def _bind(self, call: Call, reference: Object) -> Object:
        """The claims of the object a token is bound to; it must exist, and be the one that is meant."""
        version, kind, name = (reference.get(k) or "" for k in ("apiVersion", "kind", "name"))
        where = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(kind)
        if version != "v1" or where is None:
            group, _, short = version.rpartition("/")
            raise BadRequest(f"cannot bind token to object of type {group}/{short}, Kind={kind}")
        key = f"/core/nodes/{name}" if kind == "Node" else f"/core/{where}/{call.namespace}/{name}"
        record = self._store.head(key)
        if record is None:
            raise NotFound.of(where, "", name)
        obj = decode(record.value)
        uid = obj["metadata"]["uid"]
        found: Object = {kind.lower(): {"name": name, "uid": uid}}
        if kind == "Pod":
            found |= self._node_of(call, obj)
        wanted = reference.get("uid")
        if wanted and wanted != uid:
            raise Conflict.of(
                kind,
                "",
                name,
                f"the UID in the bound object reference ({wanted}) does not match the UID in record. "
                "The object might have been deleted and then recreated",
            )
        return found

    def _node_of(self, call: Call, pod: Object) -> Object:
        if (pod.get("spec") or {}).get("serviceAccountName") != call.name:
            raise BadRequest(
                f'cannot bind token for serviceaccount "{call.name}" to pod running with different serviceaccount name.'
            )
        name = pod["spec"].get("nodeName")
        if not name:
            return {}
        record = self._store.head(f"/core/nodes/{name}")
        node = {"name": name}
        if record is not None:
            node["uid"] = decode(record.value)["metadata"]["uid"]
        return {"node": node}


_LEGACY_ISSUER = "kubernetes/serviceaccount"
_LEGACY = "kubernetes.io/serviceaccount/"


def legacy_claims(namespace: str, name: str, uid: str, secret: str) -> Object:
    """Claims of a token that lives in a Secret and never expires (`LegacyClaims` of pkg/serviceaccount/legacy.go)."""
    return {
        "iss": _LEGACY_ISSUER,
        "sub": username(namespace, name),
        f"{_LEGACY}namespace": namespace,
        f"{_LEGACY}secret.name": secret,
        f"{_LEGACY}service-account.name": name,
        f"{_LEGACY}service-account.uid": uid,
    }


def _legacy(claims: Object, audience: str) -> _Known:
    namespace, secret = claims[f"{_LEGACY}namespace"], claims[f"{_LEGACY}secret.name"]
    name, uid = claims[f"{_LEGACY}service-account.name"], claims[f"{_LEGACY}service-account.uid"]
    bound = (
        _Bound(f"/core/serviceaccounts/{namespace}/{name}", uid),
        _Bound(f"/core/secrets/{namespace}/{secret}", ""),
    )
    identity = Identity(username(namespace, name), groups(namespace), uid)
    return _Known(identity, (audience,), 0.0, float("inf"), bound)


def _current(claims: Object) -> _Known:
    private = claims["kubernetes.io"]
    namespace, account = private["namespace"], private["serviceaccount"]
    bound = [_Bound(f"/core/serviceaccounts/{namespace}/{account['name']}", account["uid"])]
    for what, pattern in _BINDINGS.items():
        if what in private:
            key = pattern.format(namespace=namespace, name=private[what]["name"])
            bound.append(_Bound(key, private[what]["uid"]))
    if "node" in private and "pod" not in private:  # beside a pod, the node is there to be read only
        bound.append(_Bound(f"/core/nodes/{private['node']['name']}", private["node"]["uid"]))
    audiences = claims["aud"]
    named = (audiences,) if isinstance(audiences, str) else tuple(str(a) for a in audiences)
    return _Known(identity_of(claims), named, float(claims.get("nbf", 0)), float(claims["exp"]), tuple(bound))


def _fill_in(body: Object) -> Object:
    """The spec of a TokenRequest, with its default."""
    spec: Object = body.setdefault("spec", {})
    if spec.get("expirationSeconds") is None:
        spec["expirationSeconds"] = _DEFAULT_SECONDS
    return spec


def _check_seconds(seconds: int) -> None:
    if seconds < _MIN_SECONDS:
        text = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
    elif seconds > _MAX_SECONDS:
        text = f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds"
    else:
        return
    error = FieldError("FieldValueInvalid", "spec.expirationSeconds", text)
    raise Invalid.of("TokenRequest", "authentication.k8s.io", "", [error])


def _rfc3339(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
