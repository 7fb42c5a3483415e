"""All controllers, in one visible list, each started again when it fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from switchboard.client import Cache, Client
from switchboard.controllers.base import Context, Controller, ControllerSettings
from switchboard.controllers.certificates import CertificateController
from switchboard.controllers.cronjob import CronJobController
from switchboard.controllers.daemonset import DaemonSetController
from switchboard.controllers.deployment import DeploymentController
from switchboard.controllers.disruption import DisruptionController
from switchboard.controllers.endpoints import EndpointsController
from switchboard.controllers.endpointslice import EndpointSliceController
from switchboard.controllers.ephemeralvolume import EphemeralVolumeController
from switchboard.controllers.garbage import GarbageCollector
from switchboard.controllers.hpa import HorizontalController
from switchboard.controllers.job import JobController
from switchboard.controllers.loadbalancer import LoadBalancerController
from switchboard.controllers.mirroring import MirroringController
from switchboard.controllers.namespace import NamespaceController
from switchboard.controllers.nodelifecycle import NodeLifecycleController
from switchboard.controllers.nodettl import NodeTtlController
from switchboard.controllers.persistentvolume import PersistentVolumeController
from switchboard.controllers.podgc import PodGarbageCollector
from switchboard.controllers.policytypes import PolicyTypesController
from switchboard.controllers.replicaset import ReplicaSetController, ReplicationControllerController
from switchboard.controllers.resourceclaim import ResourceClaimController
from switchboard.controllers.resourcequota import ResourceQuotaController
from switchboard.controllers.serviceaccount import RootCaController, ServiceAccountController
from switchboard.controllers.statefulset import StatefulSetController
from switchboard.controllers.ttl import TtlAfterFinishedController

__all__ = ["CONTROLLERS", "ControllerSettings", "run_controllers"]

log = logging.getLogger(__name__)

# In the order in which they see a change: endpoints first, because traffic waits for them.
CONTROLLERS: Final[tuple[type[Controller], ...]] = (
    EndpointSliceController,
    EndpointsController,
    MirroringController,
    LoadBalancerController,
    DeploymentController,
    ReplicaSetController,
    ReplicationControllerController,
    StatefulSetController,
    DaemonSetController,
    JobController,
    CronJobController,
    TtlAfterFinishedController,
    ServiceAccountController,
    RootCaController,
    NamespaceController,
    GarbageCollector,
    PodGarbageCollector,
    NodeLifecycleController,
    NodeTtlController,
    DisruptionController,
    PersistentVolumeController,
    EphemeralVolumeController,
    ResourceClaimController,
    ResourceQuotaController,
    CertificateController,
    HorizontalController,
    PolicyTypesController,
)


async def run_controllers(
    client: Client, settings: ControllerSettings | None = None, *, cache: Cache | None = None
) -> None:
    """Run all controllers for ever; cancel to stop. A cache that somebody else runs may be shared."""
    settings = settings or ControllerSettings()
    own = Cache(client) if cache is None else None
    context = Context(own or cache or Cache(client), settings)
    controllers = [cls(context) for cls in CONTROLLERS if cls.name not in settings.without]
    async with asyncio.TaskGroup() as group:
        if own is not None:
            group.create_task(own.run())
        for controller in controllers:
            group.create_task(supervise(controller))


async def supervise(controller: Controller, *, pause: float = 1.0) -> None:
    """Run one controller, again after it failed."""
    while True:
        try:
            await controller.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("controller %s failed and is started again", controller.name)
        await asyncio.sleep(pause)
