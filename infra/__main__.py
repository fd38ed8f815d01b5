"""The Pulumi program of a Yorutsuke stage."""

import site
from pathlib import Path

# Pulumi adds only `infra/` to the path. The names that the program shares with the functions are in the layer.
site.addsitedir(str(Path(__file__).resolve().parents[1] / "layer"))

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import (
    COMMON_LAYER,
    ORCHESTRATOR,
    OUTPUT_QUEUE,
    PROJECT,
    RESULT_HANDLER,
    SCHEDULE,
    job_name_prefix,
)
from yorutsuke_infra.artifacts import stage_target
from yorutsuke_infra.batch_models import Origin
from yorutsuke_infra.batch_results import BatchResults, BatchResultsArgs
from yorutsuke_infra.batch_schedule import BatchSchedule, BatchScheduleArgs
from yorutsuke_infra.batch_submission import BatchSubmission, BatchSubmissionArgs
from yorutsuke_infra.build import build
from yorutsuke_infra.common_layer import CommonLayer, CommonLayerArgs
from yorutsuke_infra.config import load_config
from yorutsuke_infra.dashboard import Dashboard, DashboardArgs
from yorutsuke_infra.messaging import Messaging, MessagingArgs
from yorutsuke_infra.metrics import (
    FunctionMetrics,
    JobMetrics,
    QueueMetrics,
    ScheduleMetrics,
    StageMetrics,
    TableMetrics,
    lost_events,
    lost_invocations,
    lost_notifications,
)
from yorutsuke_infra.monitoring import Monitoring, MonitoringArgs
from yorutsuke_infra.output_notification import OutputNotification, OutputNotificationArgs
from yorutsuke_infra.python_function import CommonArgs
from yorutsuke_infra.storage import Storage, StorageArgs

stage = pulumi.get_stack()
config = load_config(stage)
target = stage_target(stage, config)
pulumi.log.info(f"Building the layer and the functions for {target.runtime} on {target.architecture}", ephemeral=True)
# The build repeats if the sources changed, so a deployment never has earlier zips.
build(target)
account_id = aws.get_caller_identity_output().account_id
region = aws.get_region_output().region
place = Origin(partition=aws.get_partition_output().partition, region=region, account_id=account_id)

storage = Storage(PROJECT, StorageArgs(stage=stage, account_id=account_id, protect_data=config.protect_data))

messaging = Messaging(
    OUTPUT_QUEUE,
    MessagingArgs(
        stage=stage,
        account_id=account_id,
        bucket=storage.images,
        function_timeout_seconds=config.function_timeout_seconds,
        drill_event_source=config.drill_event_source,
        protect_data=config.protect_data,
    ),
)

layer = CommonLayer(COMMON_LAYER, CommonLayerArgs(stage=stage, target=target))

common = CommonArgs(stage=stage, config=config, target=target, layer_arn=layer.arn)
results = BatchResults(RESULT_HANDLER, BatchResultsArgs(common=common, storage=storage, messaging=messaging))
handler = results.handler
submission = BatchSubmission(ORCHESTRATOR, BatchSubmissionArgs(common=common, storage=storage, place=place))
orchestrator = submission.orchestrator

notification = OutputNotification(
    OUTPUT_QUEUE,
    OutputNotificationArgs(
        trigger=config.trigger,
        account_id=account_id,
        bucket=storage.images,
        messaging=messaging,
        function=handler.function,
    ),
)

lost_outputs = (
    lost_notifications("Output files and output manifests", messaging.topic.name)
    if config.trigger == "sqs"
    else lost_invocations("Output files and output manifests", handler.function.name)
)
metrics = StageMetrics(
    jobs=JobMetrics(stage),
    queue=QueueMetrics(messaging.queue.name),
    dead_letters=QueueMetrics(messaging.dead_letter_queue.name),
    handler=FunctionMetrics(handler.function.name, handler.timeout_seconds),
    orchestrator=FunctionMetrics(orchestrator.function.name, orchestrator.timeout_seconds),
    failed_requests=QueueMetrics(submission.dead_letter_queue.name),
    tables=TableMetrics(storage.transactions.name, storage.pending_images.name),
    lost_outputs=lost_outputs,
    lost_requests=lost_invocations("Requests", orchestrator.function.name),
    lost_job_ends=lost_events("Events of failed jobs", messaging.rule.name),
    schedule=ScheduleMetrics(stage, config.max_wait_days) if config.schedule else None,
)

monitoring = Monitoring(
    PROJECT, MonitoringArgs(stage=stage, account_id=account_id, metrics=metrics, emails=config.alarm_emails)
)

parts: list[pulumi.Resource] = [storage, messaging, layer, results, submission, notification, monitoring]
if config.schedule:
    schedule = BatchScheduleArgs(
        stage=stage,
        place=place,
        expression=config.schedule,
        timezone=config.timezone,
        function=orchestrator.function,
        dead_letter_queue=submission.dead_letter_queue,
    )
    parts.append(BatchSchedule(SCHEDULE, schedule))

dashboard = Dashboard(
    PROJECT,
    DashboardArgs(
        stage=stage,
        region=region,
        metrics=metrics,
        alarms=monitoring.alarms,
        log_group=handler.log_group.name,
        orchestrator_log_group=orchestrator.log_group.name,
    ),
    pulumi.ResourceOptions(
        # The dashboard depends on everything, so Pulumi deletes it first. If it is protected, nothing is deleted.
        depends_on=parts,
        protect=config.protect_data,
    ),
)

pulumi.export("imagesBucket", storage.images.bucket)
pulumi.export("transactionsTable", storage.transactions.name)
pulumi.export("batchJobsTable", storage.batch_jobs.name)
pulumi.export("pendingImagesTable", storage.pending_images.name)
pulumi.export("outputTopicArn", messaging.topic.arn if config.trigger == "sqs" else None)
pulumi.export("queueUrl", messaging.queue.url)
pulumi.export("queueArn", messaging.queue.arn)
pulumi.export("deadLetterQueueUrl", messaging.dead_letter_queue.url)
pulumi.export("deadLetterQueueArn", messaging.dead_letter_queue.arn)
pulumi.export("jobNamePrefix", job_name_prefix(stage))
pulumi.export("drillEventSource", config.drill_event_source)
pulumi.export("commonLayerArn", layer.arn)
pulumi.export("functionName", handler.function.name)
pulumi.export("functionRoleArn", handler.role.arn)
pulumi.export("logGroup", handler.log_group.name)
pulumi.export("orchestratorName", orchestrator.function.name)
pulumi.export("orchestratorRoleArn", orchestrator.role.arn)
pulumi.export("orchestratorLogGroup", orchestrator.log_group.name)
pulumi.export("submissionDeadLetterQueueUrl", submission.dead_letter_queue.url)
pulumi.export("bedrockRoleArn", submission.bedrock_role.arn)
pulumi.export("alarmTopicArn", monitoring.topic.arn)
pulumi.export("dashboardName", dashboard.name)
