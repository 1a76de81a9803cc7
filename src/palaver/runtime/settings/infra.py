"""The settings of a deployment's engines."""

from pydantic import Field

from palaver.runtime.settings.section import Section


class InfraSettings(Section):
    """The engines that `palaver infra up` runs."""

    engines: str = Field(
        "auto",
        pattern="^(auto|native|docker)$",
        description="How they run: `native`, as processes from Debian's packages; `docker`, in containers; "
        "`auto`: in Docker where an engine of it answers at the first start.",
    )
    first_port: int = Field(
        0,
        ge=0,
        le=65_500,
        description="First of the 26 ports, all on loopback, of native processes. 0: chosen at the first "
        "start, and kept.",
    )
