"""Frozen documents: what a generation promises, kept in the repository, so that a change of it is seen.

python -m palaver.gateway.frozen_openapi v2 > docs/reference/openapi-v2.json
"""

import json
import sys

from palaver.gateway.app import bare_app
from palaver.gateway.generations.served import served_generations
from palaver.gateway.openapi import document_of_generation
from palaver.runtime.settings.gateway import GatewaySettings


def frozen_document(name: str) -> str:
    """The OpenAPI document of `v0`, `v1` or `v2`, as the repository keeps it: sorted, a line a value."""
    settings = GatewaySettings()
    registry = served_generations(settings)
    generation = next(one for one in registry.generations if one.name == name)
    document = document_of_generation(bare_app(settings, registry).openapi(), generation)
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(frozen_document(sys.argv[1]))
