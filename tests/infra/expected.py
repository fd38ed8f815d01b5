"""The order and the protection of the program's resources."""

SCHEDULE = "rate(1 day)"
"""A schedule, with which a stage has every resource."""

Name = tuple[str, str]
"""The type of a resource without its module, and its name without the prefix `yorutsuke-`."""

PREREQUISITES: dict[Name, set[Name]] = {
    ("BucketNotification", "batch-output"): {
        ("TopicPolicy", "batch-output"),
        ("TopicSubscription", "batch-output"),
        ("Permission", "batch-output"),
        ("FunctionEventInvokeConfig", "batch-output"),
    },
    ("TopicSubscription", "batch-output"): {("QueuePolicy", "batch-output"), ("QueuePolicy", "batch-output-dlq")},
    ("EventTarget", "batch-output-failed-jobs"): {
        ("QueuePolicy", "batch-output"),
        ("QueuePolicy", "batch-output-dlq"),
    },
    ("Function", "batch-result-handler"): {
        ("LogGroup", "batch-result-handler"),
        ("RolePolicy", "batch-result-handler-log"),
        ("RolePolicy", "batch-result-handler-data"),
        ("RolePolicy", "batch-result-handler-queue"),
        ("RolePolicy", "batch-result-handler-on-failure"),
    },
    ("Function", "batch-orchestrator"): {
        ("LogGroup", "batch-orchestrator"),
        ("RolePolicy", "batch-orchestrator-log"),
        ("RolePolicy", "batch-orchestrator-data"),
        ("RolePolicy", "batch-orchestrator-on-failure"),
        # Bedrock assumes its role when the function submits a job.
        ("RolePolicy", "batch-orchestrator-bedrock-data"),
    },
    ("Schedule", "batch-schedule"): {("RolePolicy", "batch-schedule-target")},
    ("BucketPolicy", "images"): {("BucketPublicAccessBlock", "images")},
    ("BucketLifecycleConfiguration", "images"): {("BucketVersioning", "images")},
}
"""The prerequisites of each resource of a stage with a schedule, with either trigger."""

RETAINED: set[Name] = {
    ("Bucket", "images"),
    ("BucketLifecycleConfiguration", "images"),
    ("BucketPolicy", "images"),
    ("BucketPublicAccessBlock", "images"),
    ("BucketServerSideEncryptionConfiguration", "images"),
    ("BucketVersioning", "images"),
    ("Table", "transactions"),
    ("Table", "batch-jobs"),
    ("Table", "pending-images"),
    ("Queue", "batch-output-dlq"),
    ("Queue", "batch-orchestrator-dlq"),
    ("LogGroup", "batch-result-handler"),
    ("LogGroup", "batch-orchestrator"),
}
"""The resources with data, which a protected stage retains."""
