"""The metrics that AWS publishes for the services of a stage, by namespace and dimensions.

Sources: Amazon SQS developer guide, "Available CloudWatch metrics for Amazon SQS"; AWS Lambda developer guide, "Types
of metrics for Lambda functions"; Amazon DynamoDB developer guide, "DynamoDB metrics and dimensions"; Amazon SNS
developer guide, "Monitoring Amazon SNS topics using CloudWatch"; Amazon EventBridge user guide, "Monitoring Amazon
EventBridge".
"""

MetricGroup = tuple[str, frozenset[str]]
"""A namespace and the names of the dimensions."""

AWS_METRICS: dict[MetricGroup, set[str]] = {
    ("AWS/SQS", frozenset({"QueueName"})): {
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesVisible",
        "NumberOfEmptyReceives",
        "NumberOfMessagesDeleted",
        "NumberOfMessagesReceived",
        "NumberOfMessagesSent",
        "SentMessageSize",
    },
    ("AWS/Lambda", frozenset({"FunctionName"})): {
        "ConcurrentExecutions",
        "DeadLetterErrors",
        "DestinationDeliveryFailures",
        "Duration",
        "Errors",
        "Invocations",
        "IteratorAge",
        "PostRuntimeExtensionsDuration",
        "Throttles",
    },
    ("AWS/DynamoDB", frozenset({"TableName"})): {
        "ConditionalCheckFailedRequests",
        "ConsumedReadCapacityUnits",
        "ConsumedWriteCapacityUnits",
        "ReadThrottleEvents",
        "TimeToLiveDeletedItemCount",
        "WriteThrottleEvents",
    },
    ("AWS/DynamoDB", frozenset({"TableName", "GlobalSecondaryIndexName"})): {
        "ConsumedReadCapacityUnits",
        "ConsumedWriteCapacityUnits",
        "ReadThrottleEvents",
        "WriteThrottleEvents",
    },
    ("AWS/SNS", frozenset({"TopicName"})): {
        "NumberOfMessagesPublished",
        "NumberOfNotificationsDelivered",
        "NumberOfNotificationsFailed",
        "NumberOfNotificationsFailedToRedriveToDlq",
        "NumberOfNotificationsFilteredOut",
        "NumberOfNotificationsRedrivenToDlq",
        "PublishSize",
    },
    ("AWS/Events", frozenset({"RuleName"})): {
        "FailedInvocations",
        "Invocations",
        "InvocationsFailedToBeSentToDlq",
        "InvocationsSentToDlq",
        "ThrottledRules",
        "TriggeredRules",
    },
}
