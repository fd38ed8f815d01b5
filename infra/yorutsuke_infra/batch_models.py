"""The ARNs of the models that a stage's jobs may use.

A model id is the id of a foundation model or of an inference profile. Bedrock runs a foundation model in the stage's
Region. The id of a profile begins with a geography: Bedrock runs its model in any Region of that geography with free
capacity. In most Regions, batch inference with Amazon Nova requires a profile.

Sources: Amazon Bedrock user guide, "Supported Regions and models for batch inference" and "Supported Regions and models
for inference profiles".
"""

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


@dataclass(frozen=True)
class Origin:
    """The location of a stage, such as `aws`, `ap-northeast-1` and `123456789012`."""

    partition: pulumi.Input[str]
    region: pulumi.Input[str]
    account_id: pulumi.Input[str]

    def bedrock(self, resource: str) -> pulumi.Output[str]:
        """Return the ARN of a Bedrock resource of the account, such as `inference-profile/ID`."""
        return pulumi.Output.concat(
            "arn:", self.partition, ":bedrock:", self.region, ":", self.account_id, ":", resource
        )

    def model(self, model_id: str, region: pulumi.Input[str]) -> pulumi.Output[str]:
        """Return the ARN of a foundation model in a Region. It omits the account id, because AWS owns the model."""
        return pulumi.Output.concat("arn:", self.partition, ":bedrock:", region, "::foundation-model/", model_id)


@dataclass(frozen=True)
class BatchModels:
    """The ARNs of the models of a stage.

    Attributes:
        foundation_models: The ARNs of foundation models.
        profiles: The ARN of each inference profile, followed by that of its foundation model in any Region.
    """

    foundation_models: tuple[pulumi.Output[str], ...]
    profiles: tuple[pulumi.Output[str], ...]

    @property
    def arns(self) -> list[pulumi.Output[str]]:
        """The ARNs of all models and profiles."""
        return [*self.foundation_models, *self.profiles]


def callable_geographies(region: str) -> list[str]:
    """Return the geographies of the inference profiles that can be called from a Region."""
    return [geography for geography, regions in GEOGRAPHIES.items() if region.startswith(regions)]


def is_callable(model_id: str, region: str) -> bool:
    """Return whether a model can be called from a Region, as far as its id shows.

    The id of a foundation model does not show its Regions.
    """
    geography = model_id.partition(".")[0]
    return geography not in GEOGRAPHIES or geography in callable_geographies(region)


def batch_models(place: Origin, model_ids: Iterable[str]) -> BatchModels:
    """Return the ARNs of these models.

    AWS may add Regions to a profile. Therefore the ARN of a profile's foundation model covers all Regions.
    """
    models: list[pulumi.Output[str]] = []
    profiles: list[pulumi.Output[str]] = []
    for model_id in model_ids:
        geography, _, of_profile = model_id.partition(".")
        if geography in GEOGRAPHIES:
            # In any Region, because AWS chooses the Region.
            profiles += [place.bedrock(f"inference-profile/{model_id}"), place.model(of_profile, "*")]
        else:
            models.append(place.model(model_id, place.region))
    return BatchModels(tuple(models), tuple(profiles))
