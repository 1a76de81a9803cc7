"""The settings of logs and traces."""

from pydantic import Field

from palaver.runtime.settings.section import Section


class TelemetrySettings(Section):
    """Logs and traces."""

    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level logged.")
    log_to: str = Field(
        "stdout", pattern="^(stdout|file)$", description="`stdout`, or `file`: `logs/` in the data directory."
    )
    instance: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        description="Name of this process where several of one service run, e.g. `2`: its files are then "
        "`gateway-2.log` and `gateway-2.jsonl`, and each line and span says it. Not for `palaver up`.",
    )
    access_log: bool = Field(True, description="Whether each request is a line of the log.")
    file_bytes: int = Field(
        16_777_216,
        ge=4096,
        description="A file of lines or of spans that has grown to this is followed by a new one.",
    )
    files: int = Field(
        4, ge=1, description="How many such files are kept of each service, the newest included."
    )
    free_bytes: int = Field(
        268_435_456,
        ge=0,
        description="While less of the disk is free, no line or span is written to a file: the rest is for "
        "data. On a disk smaller than ten times this, a tenth of it.",
    )
    traces: bool = Field(
        True, description="Whether traces are made: trace ids, and spans of those that are kept."
    )
    sample_per_second: int = Field(
        10, ge=0, description="Traces that are kept in each second, whatever the ratio says."
    )
    sample_ratio: float = Field(0.001, ge=0, le=1, description="Share of all other traces that is kept.")
    slow_seconds: float = Field(
        1.0, gt=0, description="What takes longer is kept, and so is what fails, sampled or not."
    )
    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^\s/]+/?)?$",
        description="An OTLP collector that gets spans and lines by gRPC, e.g. `http://localhost:4317`. "
        "Empty: none; then spans go to `traces/` in the data directory.",
    )

    @property
    def writes_files(self) -> bool:
        """Whether lines or spans go under the data directory."""
        return self.log_to == "file" or (self.traces and not self.otlp_endpoint)
