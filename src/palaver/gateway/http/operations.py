"""What the gateway serves beside the public APIs: health, the OpenAPI document and its page."""

from fastapi import APIRouter

from palaver.gateway.generations.registry import Generation
from palaver.gateway.http import health, pages
from palaver.gateway.http.problem_details import problem_details

router = APIRouter()
router.include_router(health.router)
router.include_router(pages.router)

OPERATIONS = Generation(
    # Metrics and lines name no generation for these
    name="none",
    tag={"name": "operations", "description": "For those who run Palaver."},
    router=router,
    errors=problem_details,
    paths=frozenset(("/healthz", "/readyz", "/", "/docs", "/swagger/index.html", "/openapi.json")),
    prefixes=("/docs/",),
)
