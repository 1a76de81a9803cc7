"""The generations that this gateway serves, and what takes the paths that they do not own."""

from palaver.gateway.generations import v0, v1, v2
from palaver.gateway.generations.not_found import NotFound
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.http.operations import OPERATIONS
from palaver.runtime.settings.gateway import GatewaySettings


def served_generations(settings: GatewaySettings) -> GenerationRegistry:
    """Newest first: the router tries routes in this order."""
    return GenerationRegistry(
        [v2.build_generation(settings), v1.build_generation(settings), v0.GENERATION, OPERATIONS],
        [NotFound()],
    )
