"""The data of a study: a set by its name, a folder or file, or an own part; and its transform.

Paths are relative to the folder of the studies file: of a folder or file, and of each setting of an
own part that begins as a path does.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError, ValidationInfo

from study.spec.own import folder_of, found_part, prefixed, read_own
from study.spec.settings import config_text, form, read_part, rule_error, rule_errors
from trainers.config import TORCHVISION_SETS, ConfigError, DataConfig, ExtraData
from trainers.config.own import Own, settings_class
from trainers.config.parts import is_own

PATH_STARTS = ("/", "./", "../", "~/")
"""What the text of a setting begins with where it is a path; `.` and `..` alone are paths, too."""
OUR_KINDS = ("folder", "npz")


def read_data(value: object, info: ValidationInfo) -> DataConfig:
    """Read the data's configuration."""
    if isinstance(value, Mapping):
        value = {**value, **_own_parts(value, info)}
    data = read_part(DataConfig, DATA_FORM, value, info)
    return data if data.is_own else replace(data, name=_beside(data.name, info))


def _read_extra(value: object, info: ValidationInfo) -> ExtraData | str:
    """Read the images that join the training batches, or the word none."""
    if value == "none":
        return "none"
    extra = read_part(ExtraData, EXTRA_FORM, value, info)
    return replace(extra, name=_beside(extra.name, info))


def _beside(name: str, info: ValidationInfo) -> str:
    """Return the name of a data set, its path from the studies file's folder."""
    kind, _, path = name.partition(":")
    if not path or not info.context:
        return name
    return f"{kind}:{_absolute(path, folder_of(info))}"


def _own_parts(value: Mapping[str, Any], info: ValidationInfo) -> dict[str, Own]:
    """Read what a study's data has of its user's own: the data itself, and the transform."""
    found: dict[str, Own] = {}
    name = value.get("name")
    if isinstance(name, str) and _is_own_data(name):
        found["settings"] = _read_settings(name, value.get("settings"), info)
    if "transform" in value:
        try:
            transform = read_own("transforms", "transform", value["transform"], info)
        except ValidationError as failure:
            raise prefixed(failure, "transform") from None
        if transform is not None:
            found["transform"] = transform
    return found


def _is_own_data(name: str) -> bool:
    is_ours = name in TORCHVISION_SETS or name.partition(":")[0] in OUR_KINDS
    return not is_ours and is_own(name, "data")


def _read_settings(name: str, settings: object, info: ValidationInfo) -> Own:
    """Read the settings of an own part."""
    part = found_part("data", name, info, ("name",))
    cls = settings_class(part)
    try:
        given = form(cls).model_validate({} if settings is None else settings).model_dump()
    except ValidationError as failure:
        raise prefixed(failure, "settings") from None
    folder = folder_of(info)
    try:
        own: Own = cls(**{key: _without_dots(item, folder) for key, item in given.items()})
    except ConfigError as error:
        place = ("settings", error.field)
        raise rule_errors([(place, config_text(error))], "trainers") from None
    return own


def _without_dots(value: Any, folder: Path) -> Any:
    """Return a setting, made absolute if it is a path."""
    is_path = isinstance(value, str) and (value.startswith(PATH_STARTS) or value in (".", ".."))
    return str(_absolute(value, folder)) if is_path else value


def _absolute(path: str, folder: Path) -> Path:
    return (folder / Path(path).expanduser()).absolute()


def _read_own_settings(value: object) -> object:
    """Check that settings are those of an own part, which have been read by now."""
    if not isinstance(value, Own):
        text = "are for data of your own, such as name: my_data:Pets; remove them or name it"
        raise rule_error(text, "trainers")
    return value


def _read_transform(value: object) -> object:
    """Check that a transform is an own part, which has been read by now."""
    if not isinstance(value, Own):
        text = "must name a function of your own, as in my_data:tint or {my_data:tint: {...}}"
        raise rule_error(text, "trainers")
    return value


EXTRA_FORM = form(ExtraData)
DATA_FORM = form(
    DataConfig,
    extra=Annotated[Any, BeforeValidator(_read_extra)],
    settings=Annotated[Any, BeforeValidator(_read_own_settings)],
    transform=Annotated[Any, BeforeValidator(_read_transform)],
)
