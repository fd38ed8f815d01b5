"""The protection of resources that hold data."""

from collections.abc import Sequence

import pulumi


def data_options(
    parent: pulumi.Resource, depends_on: Sequence[pulumi.Resource] = (), *, protect: bool
) -> pulumi.ResourceOptions:
    """Return the options of a resource that holds data.

    Pulumi would replace a resource with a fixed name by deleting it first. With these options it creates the new one
    first. AWS refuses the name, and the data remains.

    Args:
        parent: The component of the resource.
        depends_on: Resources that must exist before the resource.
        protect: Whether Pulumi refuses to delete the resource, and keeps it in AWS if it leaves the stack.

    Source: Pulumi documentation, "deleteBeforeReplace".
    """
    return pulumi.ResourceOptions(
        parent=parent,
        depends_on=depends_on,
        protect=protect,
        retain_on_delete=protect,
        delete_before_replace=False,
    )
