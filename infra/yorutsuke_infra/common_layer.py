"""The Lambda layer that every function imports: `yorutsuke_common` and the libraries it stands on."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from .artifacts import Target, layer_zip
from .config import physical_name


@dataclass(frozen=True)
class CommonLayerArgs:
    """`target` is the runtime that the layer's wheels were built for."""

    stage: str
    target: Target


class CommonLayer(pulumi.ComponentResource):
    """One version of the layer; `arn` includes the version."""

    def __init__(self, name: str, args: CommonLayerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:CommonLayer", name, {}, opts)
        self.version = aws.lambda_.LayerVersion(
            "common",
            layer_name=physical_name("common", args.stage),
            code=pulumi.FileArchive(str(layer_zip(args.target))),
            compatible_runtimes=[args.target.runtime],
            compatible_architectures=[args.target.architecture],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = self.version.arn
        self.register_outputs({})
