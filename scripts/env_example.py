"""Prints `.env.example` as the settings class says it: `scripts/env_example.py > .env.example`."""

from __future__ import annotations

import textwrap

from whisper_service.cli.setting_groups import default_of
from whisper_service.settings import Settings, variable

HEADER = """\
# Every setting of whisper-service. Copy this file to .env and take the # away where you want
# something else; what is commented out is the default.
"""


def render() -> str:
    parts = [HEADER]
    for name, field in Settings.model_fields.items():
        comment = textwrap.fill(
            field.description or "", width=96, initial_indent="# ", subsequent_indent="# "
        )
        parts.append(f"{comment}\n#{variable(name)}={default_of(field)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(render(), end="")
