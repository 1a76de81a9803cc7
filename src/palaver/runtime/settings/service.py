"""The settings of `palaver service`."""

from pydantic import Field

from palaver.runtime.settings.section import Section


class ServiceSettings(Section):
    """How many processes of each service `palaver service` runs. Each further one has ports ten higher."""

    gateways: int = Field(1, ge=1, le=64, description="Gateways.")
    messengers: int = Field(1, ge=1, le=64, description="Messengers.")
    auths: int = Field(1, ge=1, le=64, description="Auths.")
    archivers: int = Field(
        1, ge=0, le=8, description="Archivers, of which one works at a time. 0: nothing is archived."
    )
