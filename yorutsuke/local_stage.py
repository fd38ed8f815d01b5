"""The stage that `./nox -s demo -- --keep` leaves running on this machine, found by the file that it writes."""

import os
from pathlib import Path

import boto3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from yorutsuke_common.validation import describe_errors

from .clients import Clients, make_clients
from .errors import StageError

STAGE_FILE = Path(".local", "stage.json")
"""The file, below the current directory: the command runs at the repository's root."""
STAGE_FILE_VARIABLE = "YORUTSUKE_LOCAL_STAGE_FILE"
REMEDY = "run `./nox -s demo -- --keep` first"


class LocalStage(BaseModel):
    """The content of the stage's file: the endpoint of the emulator, its certificate, and credentials."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    endpoint: str
    ca_bundle: str = Field(alias="caBundle")
    region: str
    access_key_id: str = Field(alias="accessKeyId")
    secret_access_key: str = Field(alias="secretAccessKey")


def local_clients() -> Clients:
    """Return the clients of the stage on this machine. Raises StageError if it is not running."""
    file = Path(os.environ.get(STAGE_FILE_VARIABLE, STAGE_FILE)).absolute()
    try:
        stage = LocalStage.model_validate_json(file.read_bytes())
    except OSError as exc:
        raise StageError(
            f"the local stage's file {file} does not exist.",
            f"Run the command in the repository's root. If the local stage is not running, {REMEDY}.",
        ) from exc
    except ValidationError as exc:
        found = describe_errors(exc)
        raise StageError(f"{file} does not describe a stage: {found}.", f"Delete the file, then {REMEDY}.") from exc
    # The layer's image mover opens connections of its own, so an argument of the clients would not be enough.
    os.environ["AWS_CA_BUNDLE"] = stage.ca_bundle
    session = boto3.Session(stage.access_key_id, stage.secret_access_key, region_name=stage.region)
    variables = {
        "AWS_ENDPOINT_URL": stage.endpoint,
        "AWS_CA_BUNDLE": stage.ca_bundle,
        "AWS_ACCESS_KEY_ID": stage.access_key_id,
        "AWS_SECRET_ACCESS_KEY": stage.secret_access_key,
    }
    return make_clients(session, stage.endpoint, variables)
