"""The reference page of all settings, made from their declarations."""

import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from palaver.runtime.settings import Settings, all_settings

INTRODUCTION = """# Settings

<!-- `make docs` writes this page from src/palaver/runtime/settings. -->

Every setting has a default. It is changed by an environment variable, or by a TOML file that is given with
`--config FILE`. A variable wins over the file. A variable or a key that names no setting stops the start.

Lists are JSON (`["a", "b"]`) or words with commas between (`a,b`) in a variable. Truth is `true` or `false`.

`palaver up` puts what is private on Unix sockets, with health and metrics of auth and the messenger on
loopback, and gives the services the secret and each other's addresses by itself. A port 0 means a free one.

A file, for example:

```toml
data_dir = "/var/lib/palaver"

[gateway]
port = 8080
cors_origins = ["https://chat.example.org"]

[auth]
access_token_seconds = 900

[telemetry]
log_level = "warning"
```
"""


def settings_page() -> str:
    """The page, in Markdown: a table a section, with variable, key, default and meaning."""
    lines = [INTRODUCTION.rstrip()]
    section = None
    for setting in all_settings():
        if setting.section != section:
            section = setting.section
            lines += ["", *section_head(section)]
        meaning = (setting.field.description or "").replace("|", "\\|")
        default = shown_default(setting.field.default)
        lines.append(f"| `{setting.variable}` | `{setting.toml_key}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def section_head(section: str) -> list[str]:
    """The title of a section and the head of its table."""
    title, about = "General", "What all services share."
    if section:
        kind = Settings.model_fields[section].annotation
        title, about = section.capitalize(), (kind.__doc__ or "").strip()
    return [
        f"## {title}",
        "",
        about,
        "",
        "| variable | key in the file | default | meaning |",
        "|---|---|---|---|",
    ]


def shown_default(value: Any) -> str:
    """A default as it would be typed into a variable."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str | Path):
        return f"`{value}`" if str(value) else "empty"
    return f"`{json.dumps(value)}`"
