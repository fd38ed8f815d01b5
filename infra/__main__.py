"""A Yorutsuke stage: where batch results come in, what turns them into transactions, and who is told."""

import site
from pathlib import Path

# Pulumi puts only `infra/` on the path, and the names that are shared with the functions are in the layer.
site.addsitedir(str(Path(__file__).resolve().parents[1] / "layer"))

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import job_name_prefix
from yorutsuke_infra.artifacts import stage_target
from yorutsuke_infra.batch_models import Place
from yorutsuke_infra.batch_results import BatchResults, BatchResultsArgs
from yorutsuke_infra.batch_submission import BatchSubmission, BatchSubmissionArgs
from yorutsuke_infra.common_layer import CommonLayer, CommonLayerArgs
from yorutsuke_infra.config import load_config
from yorutsuke_infra.dashboard import Dashboard, DashboardArgs
from yorutsuke_infra.messaging import Messaging, MessagingArgs
from yorutsuke_infra.metrics import StageMetrics
from yorutsuke_infra.monitoring import Monitoring, MonitoringArgs
from yorutsuke_infra.output_notification import OutputNotification, OutputNotificationArgs
from yorutsuke_infra.storage import Storage, StorageArgs
from yorutsuke_infra.tags import tag_everything

stage = pulumi.get_stack()
config = load_config(stage)
target = stage_target(stage, config)
tag_everything(stage)
account_id = aws.get_caller_identity_output().account_id
region = aws.get_region_output().region
place = Place(partition=aws.get_partition_output().partition, region=region, account_id=account_id)

storage = Storage("storage", StorageArgs(stage=stage, account_id=account_id, protect_data=config.protect_data))

messaging = Messaging(
    "messaging",
    MessagingArgs(
        stage=stage,
        account_id=account_id,
        bucket=storage.images if config.trigger == "sqs" else None,
        function_timeout_seconds=config.function_timeout_seconds,
        drill_event_source=config.drill_event_source,
    ),
)

layer = CommonLayer(
    "common-layer",
    CommonLayerArgs(stage=stage, target=target),
)

batch_results = BatchResults(
    "batch-results",
    BatchResultsArgs(
        stage=stage, config=config, target=target, storage=storage, messaging=messaging, layer_arn=layer.arn
    ),
)

batch_submission = BatchSubmission(
    "batch-submission",
    BatchSubmissionArgs(
        stage=stage,
        config=config,
        target=target,
        storage=storage,
        layer_arn=layer.arn,
        place=place,
    ),
)

OutputNotification(
    "output-notification",
    OutputNotificationArgs(
        account_id=account_id,
        bucket=storage.images,
        messaging=messaging,
        function=batch_results.handler.function,
    ),
)

metrics = StageMetrics(
    stage=stage,
    topic=messaging.topic.name if messaging.topic else None,
    rule=messaging.rule.name,
    queue=messaging.queue.name,
    dead_letter_queue=messaging.dead_letter_queue.name,
    function=batch_results.handler.function.name,
    orchestrator=batch_submission.orchestrator.function.name,
    submission_dead_letter_queue=batch_submission.dead_letter_queue.name,
    transactions=storage.transactions.name,
    pending_images=storage.pending_images.name,
    function_timeout_seconds=config.function_timeout_seconds,
)

monitoring = Monitoring(
    "monitoring",
    MonitoringArgs(stage=stage, account_id=account_id, metrics=metrics, emails=config.alarm_emails),
)

dashboard = Dashboard(
    "dashboard",
    DashboardArgs(
        stage=stage,
        region=region,
        metrics=metrics,
        alarms=monitoring.alarms,
        log_group=batch_results.handler.log_group.name,
        orchestrator_log_group=batch_submission.orchestrator.log_group.name,
    ),
)

pulumi.export("imagesBucket", storage.images.bucket)
pulumi.export("transactionsTable", storage.transactions.name)
pulumi.export("batchJobsTable", storage.batch_jobs.name)
pulumi.export("pendingImagesTable", storage.pending_images.name)
pulumi.export("outputTopicArn", messaging.topic.arn if messaging.topic else None)
pulumi.export("queueUrl", messaging.queue.url)
pulumi.export("queueArn", messaging.queue.arn)
pulumi.export("deadLetterQueueUrl", messaging.dead_letter_queue.url)
pulumi.export("deadLetterQueueArn", messaging.dead_letter_queue.arn)
pulumi.export("jobNamePrefix", job_name_prefix(stage))
pulumi.export("drillEventSource", config.drill_event_source)
pulumi.export("commonLayerArn", layer.arn)
pulumi.export("functionName", batch_results.handler.function.name)
pulumi.export("functionRoleArn", batch_results.handler.role.arn)
pulumi.export("logGroup", batch_results.handler.log_group.name)
pulumi.export("orchestratorName", batch_submission.orchestrator.function.name)
pulumi.export("orchestratorRoleArn", batch_submission.orchestrator.role.arn)
pulumi.export("orchestratorLogGroup", batch_submission.orchestrator.log_group.name)
pulumi.export("submissionDeadLetterQueueUrl", batch_submission.dead_letter_queue.url)
pulumi.export("bedrockRoleArn", batch_submission.bedrock_role.arn)
pulumi.export("alarmTopicArn", monitoring.topic.arn)
pulumi.export("dashboardName", dashboard.name)
