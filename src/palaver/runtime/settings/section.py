"""What a section of the settings is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A service's settings. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")
