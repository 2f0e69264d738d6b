"""The errors of the run-task API: before the 101 as JSON, after it as ``task-failed``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

JsonObject = dict[str, object]


@attrs.frozen
class TaskError:
    """Why a task fails.

    Attributes:
        code: ``error_code``.
        message: ``error_message``.
    """

    code: str
    message: str


@attrs.frozen
class HttpRefusal:
    """An upgrade that is answered with an HTTP error instead of the 101."""

    status: int
    error: TaskError


class Rejected(Exception):
    """An action that fails its task.

    Attributes:
        error: The answer.
        task_id: The task, where that much could be read.
    """

    def __init__(self, error: TaskError, task_id: str = "") -> None:
        super().__init__(error.code, error.message)
        self.error = error
        self.task_id = task_id


ERRORS: Final[Mapping[str, TaskError]] = {
    error.code: error
    for error in (
        TaskError("InvalidParameter", "Required parameter(s) missing or invalid."),
        TaskError("InvalidApiKey", "Invalid API-key provided."),
        TaskError("AccessDenied", "Access denied."),
        TaskError("Model.AccessDenied", "Model access denied."),
        TaskError("ModelNotFound", "Model can not be found."),
        TaskError("Arrearage", "Access denied, please make sure your account is in good standing."),
        TaskError("AllocationQuota", "Free allocated quota exceeded."),
        TaskError("Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
        TaskError("DataInspectionFailed", "Input data may contain inappropriate content."),
        TaskError("ServiceUnavailable", "The service is too busy, please try again later."),
        TaskError("RequestTimeOut", "Request timed out, please try again later."),
        TaskError("InternalError", "An internal error has occurred, please try again later."),
    )
}
"""By code."""


def invalid(detail: str) -> TaskError:
    """The client's own mistake."""
    return TaskError("InvalidParameter", detail)
