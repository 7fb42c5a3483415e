"""Service-account tokens: asked for, shown, refused, and gone with what they are bound to."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from switchboard.api.jwt import InvalidToken, SigningKey, unb64, unverified_claims
from switchboard.testing.apiserver import ApiServer
from switchboard.transport.messages import Request

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        for name in ("default", "robot"):
            status, _ = await server.call("POST", ACCOUNTS, {"metadata": {"name": name}})
            assert status in (201, 409)
        yield server


async def token_of(api: ApiServer, name: str = "robot", **spec: Any) -> str:
    status, answer = await api.call("POST", f"{ACCOUNTS}/{name}/token", {"spec": spec})
    assert status == 201, answer
    return str(answer["status"]["token"])


async def who(api: ApiServer, token: str) -> tuple[int, Any]:
    """A SelfSubjectReview with this token, through the whole pipeline."""
    body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    request = Request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "", headers, body)
    result = api.app.handle(request)
    response = result if not hasattr(result, "__await__") else await result
    data = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    return response.status, json.loads(data)


async def pod(api: ApiServer, name: str, account: str = "robot") -> dict[str, Any]:
    spec = {"serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}
    status, made = await api.call("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": name}, "spec": spec})
    assert status == 201, made
    return dict(made)


async def test_a_token_is_the_accounts_user_with_its_groups(api: ApiServer) -> None:
    token = await token_of(api)
    status, review = await who(api, token)
    assert status == 201
    info = review["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:robot"
    assert set(info["groups"]) == {
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    }
    claims = unverified_claims(token)
    assert info["extra"] == {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]}
    assert claims["iss"] == "https://kubernetes.default.svc.cluster.local"
    assert claims["aud"] == [claims["iss"]]
    assert claims["exp"] - claims["iat"] == 3600


async def test_a_pods_token_names_pod_and_node_and_dies_with_the_pod(api: ApiServer) -> None:
    made = await pod(api, "p")
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"]}
    token = await token_of(api, boundObjectRef=reference, expirationSeconds=3607)
    claims = unverified_claims(token)
    assert claims["kubernetes.io"]["pod"] == {"name": "p", "uid": made["metadata"]["uid"]}
    assert claims["kubernetes.io"]["warnafter"] == claims["iat"] + 3607
    assert claims["exp"] == claims["iat"] + 365 * 24 * 3600
    status, review = await who(api, token)
    extra = review["status"]["userInfo"]["extra"]
    assert status == 201
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    await api.call("DELETE", "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0")
    assert (await who(api, token))[0] == 401
    await pod(api, "p")  # the same name is another pod
    assert (await who(api, token))[0] == 401


async def test_what_a_token_cannot_be_bound_to(api: ApiServer) -> None:
    await pod(api, "other", "default")
    wrong: list[tuple[dict[str, str], int]] = [
        ({"apiVersion": "v1", "kind": "Pod", "name": "other"}, 400),
        ({"apiVersion": "v1", "kind": "Pod", "name": "absent"}, 404),
        ({"apiVersion": "v1", "kind": "Secret", "name": "absent"}, 404),
        ({"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}, 400),
    ]
    for reference, code in wrong:
        status, _ = await api.call("POST", f"{ACCOUNTS}/robot/token", {"spec": {"boundObjectRef": reference}})
        assert status == code, reference
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "other", "uid": "00000000-0000-0000-0000-000000000000"}
    status, answer = await api.call("POST", f"{ACCOUNTS}/default/token", {"spec": {"boundObjectRef": reference}})
    assert status == 409
    assert "does not match the UID in record" in answer["message"]


async def test_a_deleted_account_takes_its_tokens_along(api: ApiServer) -> None:
    token = await token_of(api)
    assert (await who(api, token))[0] == 201
    await api.call("DELETE", f"{ACCOUNTS}/robot")
    assert (await who(api, token))[0] == 401
    assert (await api.call("POST", f"{ACCOUNTS}/robot/token", {}))[0] == 404


@pytest.mark.parametrize(("seconds", "code"), [(599, 422), (600, 201), ((1 << 32) + 1, 422)])
async def test_durations(api: ApiServer, seconds: int, code: int) -> None:
    status, answer = await api.call("POST", f"{ACCOUNTS}/robot/token", {"spec": {"expirationSeconds": seconds}})
    assert status == code
    if code == 422:
        assert answer["message"].startswith('TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds')


async def test_expired_foreign_and_tampered_tokens_are_refused(api: ApiServer) -> None:
    claims = unverified_claims(await token_of(api))
    key = api.app.tokens.key
    assert (await who(api, key.sign(claims)))[0] == 201
    assert (await who(api, key.sign({**claims, "exp": int(time.time()) - 61})))[0] == 401
    assert (await who(api, key.sign({**claims, "nbf": int(time.time()) + 120})))[0] == 401
    assert (await who(api, key.sign({**claims, "aud": ["somebody-else"]})))[0] == 401
    assert (await who(api, SigningKey().sign(claims)))[0] == 401
    head, _, signature = key.sign(claims).split(".")
    body = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "system:admin"}).encode()).rstrip(b"=").decode()
    assert (await who(api, f"{head}.{body}.{signature}"))[0] == 401
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    assert (await who(api, f"{none}.{body}."))[0] == 401


async def review(api: ApiServer, token: str, *audiences: str) -> Any:
    body = {"spec": {"token": token, "audiences": list(audiences)}}
    status, answer = await api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)
    assert status == 201
    return answer["status"]


async def test_token_review_answers_for_audiences(api: ApiServer) -> None:
    token = await token_of(api, audiences=["vault", "db"])
    assert (await who(api, token))[0] == 401  # it is not for this server
    found = await review(api, token, "db", "web")
    assert found["authenticated"] is True
    assert found["audiences"] == ["db"]
    assert found["user"]["username"] == "system:serviceaccount:default:robot"
    assert "authenticated" not in await review(api, token)
    assert "authenticated" not in await review(api, "wrong")
    assert (await review(api, api.token))["user"]["username"] == "admin"
    assert "authenticated" not in await review(api, api.token, "db")


async def test_discovery_gives_the_key_that_verifies_a_token(api: ApiServer) -> None:
    status, document = await api.call("GET", "/.well-known/openid-configuration")
    assert status == 200
    assert document["jwks_uri"].endswith("/openid/v1/jwks")
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]
    _, keys = await api.call("GET", "/openid/v1/jwks")
    (key,) = keys["keys"]
    head, body, signature = (await token_of(api)).split(".")
    assert json.loads(unb64(head))["kid"] == key["kid"]
    point = ec.EllipticCurvePublicNumbers(
        int.from_bytes(unb64(key["x"]), "big"), int.from_bytes(unb64(key["y"]), "big"), ec.SECP256R1()
    )
    raw = unb64(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    point.public_key().verify(der, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))


def test_rsa_keys_sign_rs256() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    key = SigningKey(pem)
    token = key.sign({"a": 1})
    assert key.algorithm == "RS256"
    assert key.verify(token) == {"a": 1}
    assert key.jwk()["kty"] == "RSA"
    assert key.jwk()["e"] == "AQAB"
    with pytest.raises(InvalidToken):
        SigningKey().verify(token)


async def test_a_token_secret_is_filled_in_and_goes_with_its_account(api: ApiServer) -> None:
    notes = {"kubernetes.io/service-account.name": "robot"}
    body = {"metadata": {"generateName": "t-", "annotations": notes}, "type": "kubernetes.io/service-account-token"}
    status, secret = await api.call("POST", "/api/v1/namespaces/default/secrets", body)
    assert status == 201, secret
    token = base64.b64decode(secret["data"]["token"]).decode()
    assert base64.b64decode(secret["data"]["namespace"]) == b"default"
    assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"]
    status, review = await who(api, token)
    assert review["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot"
    await api.call("DELETE", f"{ACCOUNTS}/robot")
    path = f"/api/v1/namespaces/default/secrets/{secret['metadata']['name']}"
    async with asyncio.timeout(5):
        while (await api.call("GET", path))[0] != 404:  # noqa: ASYNC110 - the deletion is not announced
            await asyncio.sleep(0.005)
    assert (await who(api, token))[0] == 401
