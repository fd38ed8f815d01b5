"""The Lambda layer that both functions import."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import physical_name

from .artifacts import Target, layer_zip


@dataclass(frozen=True)
class CommonLayerArgs:
    """Arguments of `CommonLayer`. `target` is the runtime that the layer's wheels are built for."""

    stage: str
    target: Target


class CommonLayer(pulumi.ComponentResource):
    """The layer with the package `yorutsuke_common` and its dependencies.

    Resources:
        `{name}`: the layer version. `arn` includes the version.
    """

    def __init__(self, name: str, args: CommonLayerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:CommonLayer", name, {}, opts)
        version = aws.lambda_.LayerVersion(
            name,
            layer_name=physical_name(name, args.stage),
            code=pulumi.FileArchive(str(layer_zip(args.target))),
            compatible_runtimes=[args.target.runtime],
            compatible_architectures=[args.target.architecture],
            # Other stacks, and a rollback, use an earlier version.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        self.arn = version.arn
        self.register_outputs({"arn": self.arn})
