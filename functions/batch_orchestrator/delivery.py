"""The choice between images within the manifest and images in S3. Pure."""

from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.schema import ImageDelivery

from .prompt import invocation_type


def choose_delivery(requested: ImageDelivery | None, model_id: str, setting: ImageDelivery) -> ImageDelivery:
    """Return the delivery of a new intent's images. The request replaces the setting of the stage.

    Of the models with a known request form, only Amazon Nova reads images from S3. The images of other models are in
    the manifest, whatever the setting.

    Raises:
        InvalidRequestError: The request asks for a delivery that its model does not support.
    """
    if invocation_type(model_id) is None:
        return requested or setting
    if requested == "s3":
        raise InvalidRequestError(
            f"imageDelivery is s3, but model {model_id!r} does not read images from S3",
            "Name an Amazon Nova model by its id or its inference profile, or leave imageDelivery out.",
        )
    return "inline"
