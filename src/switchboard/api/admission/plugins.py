"""The plugins of the chain, in the order of upstream's `AllOrderedPlugins`: one visible list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchboard.api.admission.certificates import Certificates
from switchboard.api.admission.chain import Chain
from switchboard.api.admission.classes import ClaimResize, DefaultClasses, InUseProtection
from switchboard.api.admission.limits import LimitRanger
from switchboard.api.admission.mutations import MutatingPolicies
from switchboard.api.admission.namespaces import NamespaceLifecycle
from switchboard.api.admission.nodes import NodeRestriction, NodeTaints
from switchboard.api.admission.pods import Priorities, RuntimeClasses, Tolerations
from switchboard.api.admission.podsecurity import PodSecurity
from switchboard.api.admission.policies import ValidatingPolicies
from switchboard.api.admission.quota import ResourceQuotas
from switchboard.api.admission.serviceaccounts import ServiceAccounts
from switchboard.api.admission.tokensecrets import TokenSecrets
from switchboard.api.admission.webhooks import MutatingWebhooks, ValidatingWebhooks
from switchboard.api.escalation import Escalation

if TYPE_CHECKING:
    from switchboard.api.app import App


def chain(app: App) -> Chain:
    """The admission chain of one API server."""
    store = app.store
    return Chain(
        [
            NamespaceLifecycle(store),
            LimitRanger(store),
            ServiceAccounts(store),
            TokenSecrets(app),
            NodeRestriction(store, app.authorizer),
            NodeTaints(),
            Priorities(store),
            Tolerations(),
            DefaultClasses(store),
            InUseProtection(),
            ClaimResize(store),
            RuntimeClasses(store),
            Certificates(app.authorizer),
            MutatingPolicies(app),
            MutatingWebhooks(app),
            PodSecurity(store),
            Escalation(app.rbac, app.authorizer),
            ValidatingPolicies(app),
            ValidatingWebhooks(app),
            ResourceQuotas(store),
        ]
    )
