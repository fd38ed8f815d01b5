"""Whether the roles may do what the code does: asked of IAM itself, action by action.

Not asked is what is granted on a condition: iam:PassRole, about whom the role is passed to, and bedrock:InvokeModel of
the models behind an inference profile. All else that is called is here, and a test holds it against what is declared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from batch_orchestrator.settings import Settings as OrchestratorSettings
from batch_result_handler.job import JOB_ID_INDEX
from yorutsuke.stage import HANDLER, ORCHESTRATOR, Stage
from yorutsuke_common.environment import read_environment

from .finding import Finding, judged

REMEDY = (
    "deploy the stage again; what somebody takes away by hand is not put back by `pulumi up` alone (pulumi refresh)"
)
JOB = "abcdefgh1234"
"""A job's id stands for any."""


@dataclass(frozen=True)
class Need:
    """What a role has to be allowed on a resource."""

    actions: Sequence[str]
    resource: str


def roles(stage: Stage) -> Iterator[Finding]:
    """Look at the handler's role, the orchestrator's, and the one that Bedrock takes on."""
    orchestrator = stage.clients.lambda_.get_function_configuration(FunctionName=stage.physical(ORCHESTRATOR))
    settings = read_environment(OrchestratorSettings, orchestrator.get("Environment", {}).get("Variables", {}))
    for name, role, needs in (
        (HANDLER, stage.function["Role"], handler_needs(stage)),
        (ORCHESTRATOR, orchestrator["Role"], orchestrator_needs(stage, settings.model_ids)),
        ("bedrock-batch", settings.bedrock_role_arn, bedrock_needs(stage, settings.model_ids)),
    ):
        problems = chain.from_iterable(_denied(stage, role, need) for need in needs)
        yield judged(f"role of {name}", problems, "may do what its code does", REMEDY)


def handler_needs(stage: Stage) -> list[Need]:
    """Return what the handler's code calls, and Lambda in its name."""
    settings = stage.settings
    return [
        Need(["s3:GetObject"], _object(stage, f"batch-output/{JOB}/output.jsonl")),
        Need(["s3:GetObject", "s3:DeleteObject"], _object(stage, "uploads/user/image.png")),
        Need(["s3:PutObject"], _object(stage, "processed/2026-01-01/user/image.png")),
        Need(["s3:PutObject"], _object(stage, f"dead-letters/{JOB}.jsonl")),
        Need(["dynamodb:BatchWriteItem"], _table(stage, settings.transactions_table)),
        Need(["dynamodb:BatchWriteItem", "dynamodb:BatchGetItem"], _table(stage, settings.pending_images_table)),
        Need(["dynamodb:Query"], _table(stage, f"{settings.batch_jobs_table}/index/{JOB_ID_INDEX}")),
        Need(["dynamodb:UpdateItem"], _table(stage, settings.batch_jobs_table)),
        Need(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], stage.arn("sqs", stage.queue.name)),
        _log_need(stage, HANDLER),
    ]


def orchestrator_needs(stage: Stage, model_ids: Sequence[str]) -> list[Need]:
    """Return what the orchestrator's code calls, and Lambda in its name."""
    settings = stage.settings
    models = [_model(stage, model_id.removeprefix(_geography(model_id))) for model_id in model_ids]
    jobs = [stage.arn("bedrock", f"model-invocation-job/{JOB}"), *models, *_profiles(stage, model_ids)]
    return [
        Need(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], _table(stage, settings.batch_jobs_table)),
        Need(["dynamodb:BatchGetItem"], _table(stage, settings.pending_images_table)),
        Need(["s3:GetObject"], _object(stage, "uploads/user/image.png")),
        Need(["s3:PutObject", "s3:AbortMultipartUpload"], _object(stage, "batch-input/intent/manifest.jsonl")),
        *(Need(["bedrock:CreateModelInvocationJob"], arn) for arn in jobs),
        Need(["sqs:SendMessage"], stage.arn("sqs", stage.submit_dead_letter_queue.name)),
        _log_need(stage, ORCHESTRATOR),
    ]


def bedrock_needs(stage: Stage, model_ids: Sequence[str]) -> list[Need]:
    """Return what Bedrock does in its role."""
    return [
        Need(["s3:ListBucket"], _object(stage, "").rstrip("/")),
        Need(["s3:GetObject"], _object(stage, "batch-input/intent/manifest.jsonl")),
        Need(["s3:PutObject"], _object(stage, f"batch-output/{JOB}/manifest.jsonl.out")),
        *(Need(["bedrock:InvokeModel"], profile) for profile in _profiles(stage, model_ids)),
    ]


def _geography(model_id: str) -> str:
    """Return what an inference profile's id has before its model's, such as `apac.`; nothing of a model's own."""
    return model_id.partition("amazon.")[0]


def _profiles(stage: Stage, model_ids: Sequence[str]) -> list[str]:
    return [stage.arn("bedrock", f"inference-profile/{model_id}") for model_id in model_ids if _geography(model_id)]


def _model(stage: Stage, model_id: str) -> str:
    # It is nobody's: its ARN has no account.
    arn, partition, _, region, *_ = stage.function["FunctionArn"].split(":")
    return f"{arn}:{partition}:bedrock:{region}::foundation-model/{model_id}"


def _object(stage: Stage, key: str) -> str:
    partition = stage.function["FunctionArn"].split(":")[1]
    return f"arn:{partition}:s3:::{stage.settings.images_bucket}/{key}"


def _table(stage: Stage, name: str) -> str:
    return stage.arn("dynamodb", f"table/{name}")


def _log_need(stage: Stage, function: str) -> Need:
    stream = f"log-group:/aws/lambda/{stage.physical(function)}:log-stream:any"
    return Need(["logs:CreateLogStream", "logs:PutLogEvents"], stage.arn("logs", stream))


def _denied(stage: Stage, role: str, need: Need) -> Iterator[str]:
    answer = stage.clients.iam.simulate_principal_policy(
        PolicySourceArn=role, ActionNames=[*need.actions], ResourceArns=[need.resource]
    )
    for result in answer.get("EvaluationResults", []):
        if result["EvalDecision"] != "allowed":
            yield f"may not {result['EvalActionName']} on {need.resource.split(':', 5)[5]}"
