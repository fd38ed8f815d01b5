"""The models that a stage's jobs may be of, as IAM knows them.

A model id is a foundation model's, which is run in the stage's own Region, or, with a geography before it, an inference
profile's, by which Bedrock runs the model in whichever Region of that geography has room. Most Regions have Amazon
Nova for batch inference by a profile alone.

Sources: Amazon Bedrock user guide, "Supported Regions and models for batch inference" and "Supported Regions and models
for inference profiles".
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pulumi

GEOGRAPHIES = ("apac", "au", "ca", "eu", "global", "jp", "us", "us-gov")
"""What the id of an inference profile may begin with."""


@dataclass(frozen=True)
class Place:
    """Where in AWS a stage is: such as `aws`, `ap-northeast-1` and `123456789012`."""

    partition: pulumi.Input[str]
    region: pulumi.Input[str]
    account_id: pulumi.Input[str]

    def bedrock(self, resource: str) -> pulumi.Output[str]:
        """Return the ARN of something of the account's in Bedrock."""
        return pulumi.Output.concat(
            "arn:", self.partition, ":bedrock:", self.region, ":", self.account_id, ":", resource
        )

    def model(self, model_id: str, region: pulumi.Input[str]) -> pulumi.Output[str]:
        """Return the ARN of a foundation model, which is AWS's and no account's, in a Region."""
        return pulumi.Output.concat("arn:", self.partition, ":bedrock:", region, "::foundation-model/", model_id)


@dataclass(frozen=True)
class BatchModels:
    """The ARNs of foundation models, and those of inference profiles, each with that of its model in any Region."""

    foundation_models: tuple[pulumi.Output[str], ...]
    profiles: tuple[tuple[pulumi.Output[str], pulumi.Output[str]], ...]

    @property
    def arns(self) -> list[pulumi.Output[str]]:
        """All of them."""
        return [*self.foundation_models, *(arn for profile in self.profiles for arn in profile)]


def batch_models(place: Place, model_ids: Iterable[str]) -> BatchModels:
    """Return what IAM knows these models as.

    Which Regions a profile reaches may change, and what AWS adds is to work on: its model is named in all of them.
    """
    models: list[pulumi.Output[str]] = []
    profiles: list[tuple[pulumi.Output[str], pulumi.Output[str]]] = []
    for model_id in model_ids:
        geography, _, of_profile = model_id.partition(".")
        if geography in GEOGRAPHIES:
            # In any Region: in which of them is for AWS to say.
            profiles.append((place.bedrock(f"inference-profile/{model_id}"), place.model(of_profile, "*")))
        else:
            models.append(place.model(model_id, place.region))
    return BatchModels(tuple(models), tuple(profiles))
