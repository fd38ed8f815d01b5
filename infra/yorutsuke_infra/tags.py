"""The tags of everything a stage has, for whoever looks at an account's bill or cleans it up."""

import pulumi

from yorutsuke_common.names import PROJECT


def tag_everything(stage: str) -> None:
    """Give every resource that takes tags, from here on, those of the stage."""
    tags = {"project": PROJECT, "stage": stage, "managed-by": "pulumi"}

    def tagged(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        # The provider's classes have this input where AWS takes tags, set or not.
        if "tags" not in args.props:
            return None
        if args.props["tags"] is not None:
            raise ValueError(f"{args.name} has tags of its own, which those of the stage would replace")
        return pulumi.ResourceTransformationResult({**args.props, "tags": tags}, args.opts)

    pulumi.runtime.register_stack_transformation(tagged)
