"""The ARNs of the models that a stage's jobs may use.

A model id is the id of a foundation model, the id of an inference profile, or the ARN of an application inference
profile. Bedrock runs a foundation model in the stage's Region. The id of a profile begins with a geography: Bedrock
runs its model in any Region of that geography with free capacity. In most Regions, batch inference with Amazon Nova
requires a profile. An application inference profile is the account's own copy of a model or profile. Its ARN does not
name its model.

Sources: Amazon Bedrock user guide, "Supported Regions and models for batch inference", "Supported Regions and models
for inference profiles" and "Create an application inference profile".
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pulumi

GEOGRAPHIES: Mapping[str, tuple[str, ...]] = {
    "apac": ("ap-", "me-central-1"),
    "au": ("ap-southeast-2", "ap-southeast-4", "ap-southeast-6"),
    "ca": ("ca-",),
    "eu": ("eu-", "il-central-1"),
    "global": ("",),
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "us": ("us-east-", "us-west-", "ca-"),
    "us-gov": ("us-gov-",),
}
"""The first parts of the ids of inference profiles, and the beginnings of the Regions from which they can be called.

AWS lists the source Regions of each profile. The Regions of one profile are accepted for its geography.
"""
_GEOGRAPHY = rf"(?:{'|'.join(GEOGRAPHIES)})\."
_FOUNDATION_MODEL = r"[a-z0-9-]{1,63}\.[a-z0-9-]{1,63}(?:\.[0-9][a-z0-9-]{0,62})?(?::[a-z0-9-]{1,63}){0,2}"
MODEL_ID = re.compile(rf"(?:{_GEOGRAPHY})?(?!{_GEOGRAPHY}){_FOUNDATION_MODEL}")
"""Pattern of the id of a foundation model or of an inference profile: provider, name and version.

A name may have a dot before a digit, as in `zai.glm-4.7`. Source: Amazon Bedrock API reference,
CreateModelInvocationJob (`modelId`).
"""
APPLICATION_PROFILE = re.compile(
    # Any partition, because AWS adds partitions.
    r"arn:aws[a-z-]*:bedrock:(?P<region>[a-z0-9-]{1,20}):[0-9]{12}:application-inference-profile/[a-zA-Z0-9:.-]{1,64}"
)
"""Pattern of the ARN of an application inference profile. Source: Amazon Bedrock API reference,
CreateModelInvocationJob (`modelId`) and InferenceProfileSummary."""


@dataclass(frozen=True)
class Origin:
    """The location of a stage, such as `aws`, `ap-northeast-1` and `123456789012`."""

    partition: pulumi.Input[str]
    region: pulumi.Input[str]
    account_id: pulumi.Input[str]

    def arn(self, service: str, resource: str) -> pulumi.Output[str]:
        """Return the ARN of a resource of the account, such as `inference-profile/ID` of the service `bedrock`."""
        return pulumi.Output.concat(
            "arn:", self.partition, f":{service}:", self.region, ":", self.account_id, ":", resource
        )

    def model(self, model_id: str, region: pulumi.Input[str]) -> pulumi.Output[str]:
        """Return the ARN of a foundation model in a Region. It omits the account id, because AWS owns the model."""
        return pulumi.Output.concat("arn:", self.partition, ":bedrock:", region, "::foundation-model/", model_id)


@dataclass(frozen=True)
class BatchModels:
    """The ARNs of the models of a stage.

    Attributes:
        foundation_models: The ARNs of foundation models.
        profiles: The ARNs of inference profiles.
        profile_models: The ARNs of their foundation models in any Region.
        application_profiles: The ARNs of application inference profiles.
        every_model: The ARN of all foundation models in any Region. One of them is the model of an application
            inference profile, but the profile's ARN does not show which one.
    """

    foundation_models: tuple[pulumi.Output[str], ...]
    profiles: tuple[pulumi.Output[str], ...]
    profile_models: tuple[pulumi.Output[str], ...]
    application_profiles: tuple[str, ...]
    every_model: pulumi.Output[str]


def callable_geographies(region: str) -> list[str]:
    """Return the geographies of the inference profiles that can be called from a Region."""
    return [geography for geography, regions in GEOGRAPHIES.items() if region.startswith(regions)]


def is_callable(model_id: str, region: str) -> bool:
    """Return whether a model can be called from a Region, as far as its id shows.

    The id of a foundation model does not show its Regions. An application inference profile belongs to one Region.
    """
    if profile := APPLICATION_PROFILE.fullmatch(model_id):
        return profile["region"] == region
    geography = model_id.partition(".")[0]
    return geography not in GEOGRAPHIES or geography in callable_geographies(region)


def batch_models(place: Origin, model_ids: Iterable[str]) -> BatchModels:
    """Return the ARNs of these models.

    AWS may add Regions to a profile. Therefore the ARN of a profile's foundation model covers all Regions.
    """
    models: list[pulumi.Output[str]] = []
    profiles: list[pulumi.Output[str]] = []
    profile_models: list[pulumi.Output[str]] = []
    application_profiles: list[str] = []
    for model_id in model_ids:
        geography, _, of_profile = model_id.partition(".")
        if APPLICATION_PROFILE.fullmatch(model_id):
            application_profiles.append(model_id)
        elif geography in GEOGRAPHIES:
            profiles.append(place.arn("bedrock", f"inference-profile/{model_id}"))
            # In any Region, because AWS chooses the Region.
            profile_models.append(place.model(of_profile, "*"))
        else:
            models.append(place.model(model_id, place.region))
    # Any model in any Region, because the ARN of an application inference profile shows neither.
    every_model = place.model("*", "*")
    return BatchModels(tuple(models), tuple(profiles), tuple(profile_models), tuple(application_profiles), every_model)
