"""All controllers, in one visible list, each started again when it fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from switchboard.client import Cache, Client
from switchboard.controllers.base import Context, Controller, ControllerSettings
from switchboard.controllers.deployment import DeploymentController
from switchboard.controllers.endpoints import EndpointsController
from switchboard.controllers.endpointslice import EndpointSliceController
from switchboard.controllers.garbage import GarbageCollector
from switchboard.controllers.mirroring import MirroringController
from switchboard.controllers.namespace import NamespaceController
from switchboard.controllers.replicaset import ReplicaSetController, ReplicationControllerController
from switchboard.controllers.serviceaccount import RootCaController, ServiceAccountController

__all__ = ["CONTROLLERS", "ControllerSettings", "run_controllers"]

log = logging.getLogger(__name__)

CONTROLLERS: Final[tuple[type[Controller], ...]] = (
    EndpointSliceController,
    EndpointsController,
    MirroringController,
    DeploymentController,
    ReplicaSetController,
    ReplicationControllerController,
    ServiceAccountController,
    RootCaController,
    NamespaceController,
    GarbageCollector,
)


async def run_controllers(client: Client, settings: ControllerSettings | None = None) -> None:
    """Run all controllers for ever; cancel to stop."""
    settings = settings or ControllerSettings()
    context = Context(Cache(client), settings)
    controllers = [cls(context) for cls in CONTROLLERS if cls.name not in settings.without]
    async with asyncio.TaskGroup() as group:
        group.create_task(context.cache.run())
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
