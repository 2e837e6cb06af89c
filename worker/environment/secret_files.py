"""Settings whose value is in a file: ``ZDK_<NAME>_FILE`` names it, as container images do it.

A file is seen by who may read it. A variable is seen by whoever may look at the container, and is
handed on to every program that it starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from pydantic_settings.sources import EnvSettingsSource

#: Bytes; no setting is longer, and whoever names a device or a log by mistake is told so.
MAX_FILE_BYTES = 64 * 1024

_SUFFIX = "_file"


class FileSettingsSource(PydanticBaseSettingsSource):
    """Reads each setting for which the environment has ``<PREFIX><NAME>_FILE``.

    White space around the value, such as the newline that most editors add, is left out.

    Parameters:
        settings_cls: the settings.
        environment: the source that reads plain variables; it has the prefix and the variables.
    """

    def __init__(self, settings_cls: type[BaseSettings], environment: EnvSettingsSource) -> None:
        super().__init__(settings_cls)
        self._variables = environment.env_vars
        self._prefix = environment.env_prefix.lower()

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of one setting; None if its variable is not set, or empty."""
        path = self._variables.get(self._prefix + field_name + _SUFFIX)
        if not path:
            return None, field_name, False
        if self._variables.get(self._prefix + field_name):
            raise self._wrong(
                field_name, "the variable without _FILE is set too; unset one of them"
            )
        return self._read(field_name, Path(path)), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All values by name of the setting.

        Raises:
            ValidationError: a file cannot be read, is empty or too long, is not UTF-8, or the
                setting has a plain value too. The error is at the name of the variable.
        """
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found

    def _read(self, name: str, path: Path) -> str:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
            text = data.decode().strip()
        except OSError as error:
            raise self._wrong(name, f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise self._wrong(name, f"{path} is not text in UTF-8") from None
        if len(data) > MAX_FILE_BYTES:
            raise self._wrong(name, f"{path} has more than {MAX_FILE_BYTES:,} bytes")
        if not text:
            raise self._wrong(name, f"{path} is empty; write the value into it")
        return text

    def _wrong(self, name: str, message: str) -> ValidationError:
        problem = PydanticCustomError("setting_file", "{message}", {"message": message})
        where = InitErrorDetails(type=problem, loc=(name + _SUFFIX,), input=None)
        return ValidationError.from_exception_data(self.settings_cls.__name__, [where])
